package main

import (
	"archive/zip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/robfig/cron/v3"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	"sigs.k8s.io/yaml"
)

// Snapshot is a file of the snapshot folder, as `k3s etcd-snapshot ls` shows it.
type Snapshot struct {
	Name     string    `json:"name"`
	Location string    `json:"location"`
	Size     int64     `json:"size"`
	Created  time.Time `json:"created"`
}

func (c *Config) snapshotDir() string { return c.or("etcd-snapshot-dir", snapshotsDir) }

func (c *Config) retention() int {
	if keep, err := strconv.Atoi(c.text("etcd-snapshot-retention")); err == nil {
		return keep
	}
	return 5
}

// save writes PREFIX-NODE-SECONDS into the snapshot folder: docs.k3s.io/cli/etcd-snapshot.
func (c *Config) save(ctx context.Context, client *clientv3.Client, prefix string) (Snapshot, error) {
	directory := c.snapshotDir()
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return Snapshot{}, err
	}
	now := time.Now()
	name := fmt.Sprintf("%s-%s-%d", prefix, c.NodeName, now.Unix())
	path := filepath.Join(directory, name)
	info("Saving etcd snapshot to %s", path)
	stream, err := client.Snapshot(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	defer stream.Close()
	part, err := os.OpenFile(path+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return Snapshot{}, err
	}
	defer os.Remove(part.Name())
	if _, err = io.Copy(part, stream); err == nil {
		err = part.Sync()
	}
	if closed := part.Close(); err == nil {
		err = closed
	}
	if err == nil && c.is("etcd-snapshot-compress") {
		err = compress(part.Name(), path+".zip", name)
		path += ".zip"
	} else if err == nil {
		err = os.Rename(part.Name(), path)
	}
	if err != nil {
		return Snapshot{}, err
	}
	info("Snapshot %s saved.", filepath.Base(path))
	return describe(path)
}

func compress(from, to, name string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	archive := zip.NewWriter(target)
	entry, err := archive.Create(name)
	if err == nil {
		_, err = io.Copy(entry, source)
	}
	if closed := archive.Close(); err == nil {
		err = closed
	}
	if closed := target.Close(); err == nil {
		err = closed
	}
	return err
}

func describe(path string) (Snapshot, error) {
	held, err := os.Stat(path)
	if err != nil {
		return Snapshot{}, err
	}
	return Snapshot{filepath.Base(path), "file://" + path, held.Size(), held.ModTime().UTC().Truncate(time.Second)}, nil
}

func (c *Config) snapshots() ([]Snapshot, error) {
	files, err := os.ReadDir(c.snapshotDir())
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	all := []Snapshot{}
	for _, file := range files {
		if file.IsDir() || strings.HasSuffix(file.Name(), ".part") {
			continue
		}
		found, err := describe(filepath.Join(c.snapshotDir(), file.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, found)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Created.Before(all[j].Created) })
	return all, nil
}

// prune keeps the newest of a prefix.
func (c *Config) prune(prefix string) error {
	all, err := c.snapshots()
	if err != nil {
		return err
	}
	var ours []Snapshot
	for _, found := range all {
		if strings.HasPrefix(found.Name, prefix+"-"+c.NodeName+"-") {
			ours = append(ours, found)
		}
	}
	for len(ours) > c.retention() {
		info("Removing local snapshot %s", ours[0].Location)
		if err := os.Remove(strings.TrimPrefix(ours[0].Location, "file://")); err != nil {
			return err
		}
		ours = ours[1:]
	}
	return nil
}

// save takes a snapshot in the server's own process, which is where K3s counts them.
func (e *Etcd) save(ctx context.Context, c *Config, prefix string) (saved Snapshot, err error) {
	began := time.Now()
	defer func() { observe(snapshotSave, began, err) }()
	if _, err = e.client.Status(ctx, localEtcd); err != nil {
		return Snapshot{}, fmt.Errorf("failed to check etcd status for snapshot: %w", err)
	}
	saved, err = c.save(ctx, e.client, prefix)
	observe(snapshotSaveLocal, began, err)
	if err == nil {
		_, err = c.reconcile()
	}
	return saved, err
}

// reconcile is the list alone here: there are no ETCDSnapshotFile objects.
func (c *Config) reconcile() ([]Snapshot, error) {
	began := time.Now()
	all, err := c.snapshots()
	observe(snapshotReconcileLocal, began, err)
	observe(snapshotReconcile, began, err)
	return all, err
}

// What `k3s etcd-snapshot save` asks of its server: K3s, pkg/etcd/snapshot_handler.go.
type snapshotRequest struct {
	Operation string   `json:"operation"`
	Name      []string `json:"name"`
	Dir       string   `json:"dir"`
	Compress  bool     `json:"compress"`
}

func (e *Etcd) serveSnapshot(w http.ResponseWriter, r *http.Request) {
	var asked snapshotRequest
	err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&asked)
	if r.Method != http.MethodPost || err != nil || asked.Operation != "save" || len(asked.Name) != 1 {
		sendError(w, http.StatusBadRequest, "invalid snapshot operation")
		return
	}
	if e.client == nil {
		sendError(w, http.StatusServiceUnavailable, "etcd is not running yet")
		return
	}
	values := maps.Clone(e.config.values)
	values["etcd-snapshot-dir"], values["etcd-snapshot-compress"] = []string{asked.Dir}, []string{fmt.Sprint(asked.Compress)}
	saved, err := e.save(r.Context(), &Config{values: values, NodeName: e.config.NodeName}, asked.Name[0])
	if err != nil {
		sendError(w, http.StatusInternalServerError, "%v", err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string][]string{"created": {saved.Name}})
}

// askForSnapshot has the server that runs here take one.
func (c *Config) askForSnapshot(prefix string) error {
	token, err := os.ReadFile(serverDir + "/token")
	if err != nil {
		return err
	}
	server, err := join("https://127.0.0.1:6443", strings.TrimSpace(string(token)), "server")
	if err != nil {
		return err
	}
	server.client.Timeout = 5 * time.Minute
	asked, err := json.Marshal(snapshotRequest{"save", []string{prefix}, c.snapshotDir(), c.is("etcd-snapshot-compress")})
	if err != nil {
		return err
	}
	answer, err := server.do(http.MethodPost, "/db/snapshot", asked, nil)
	if err != nil {
		return err
	}
	var result struct{ Created []string }
	if err := json.Unmarshal(answer, &result); err != nil {
		return err
	}
	info("Snapshot %s saved.", strings.Join(result.Created, ", "))
	return nil
}

func (e *Etcd) scheduleSnapshots(ctx context.Context) {
	if e.config.is("etcd-disable-snapshots") {
		return
	}
	prefix := e.config.or("etcd-snapshot-name", "etcd-snapshot")
	schedule := cron.New()
	_, _ = e.config.reconcile()
	_, err := schedule.AddFunc(e.config.or("etcd-snapshot-schedule-cron", "0 */12 * * *"), func() {
		if _, err := e.save(ctx, e.config, prefix); err != nil {
			problem("Failed to take etcd snapshot: %v", err)
		} else if err := e.config.prune(prefix); err != nil {
			problem("Failed to apply snapshot retention: %v", err)
		}
	})
	if err != nil {
		problem("Failed to schedule snapshots: %v", err)
		return
	}
	schedule.Start()
}

// restore puts the data of a snapshot in the place of what is there, which is kept beside it.
func (e *Etcd) restore(path string) error {
	held, err := os.Stat(path)
	if os.IsNotExist(err) {
		return fmt.Errorf("etcd: snapshot path does not exist: %s", path)
	} else if err != nil {
		return err
	} else if held.IsDir() {
		return fmt.Errorf("etcd: snapshot path must be a file, not a directory: %s", path)
	}
	if strings.HasSuffix(path, ".zip") {
		if path, err = decompress(path); err != nil {
			return err
		}
		defer os.Remove(path)
	}
	if _, err := os.Stat(etcdDir); err == nil {
		old := oldDir()
		if err := os.Rename(etcdDir, old); err != nil {
			return err
		}
		info("Pre-restore etcd database moved to %s", old)
	}
	e.name = e.config.NodeName + "-" + randomHex(4)
	err = snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: path, Name: e.name, OutputDataDir: etcdDir, OutputWALDir: etcdDir + "/member/wal",
		PeerURLs: []string{e.peerURL()}, InitialCluster: e.name + "=" + e.peerURL(), InitialClusterToken: "etcd-cluster",
	})
	if err != nil {
		return err
	}
	return writeFile(etcdDir+"/name", []byte(e.name), 0o600)
}

func decompress(path string) (string, error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return "", err
	}
	defer archive.Close()
	if len(archive.File) != 1 {
		return "", fmt.Errorf("%s holds %d files, expected one", path, len(archive.File))
	}
	source, err := archive.File[0].Open()
	if err != nil {
		return "", err
	}
	defer source.Close()
	target, err := os.CreateTemp(filepath.Dir(path), ".restore-*")
	if err != nil {
		return "", err
	}
	defer target.Close()
	_, err = io.Copy(target, source)
	return target.Name(), err
}

// ownPeerURL corrects the address that the data names, which is another one where a node has moved.
func (e *Etcd) ownPeerURL(ctx context.Context) error {
	members, err := e.client.MemberList(ctx)
	if err != nil {
		return err
	}
	if len(members.Members) != 1 {
		return fmt.Errorf("failed to update peer url: etcd still has more than one member")
	}
	// Forcing a new cluster keeps the member's old name, which etcd takes over when the member starts again.
	_, err = e.client.MemberUpdate(ctx, members.Members[0].ID, []string{e.peerURL()})
	return err
}

func snapshotCommand(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: k3s etcd-snapshot save|ls|delete|prune")
	}
	action := args[0]
	prefix, output := "on-demand", "table"
	var names, rest []string
	for i := 1; i < len(args); i++ {
		if !strings.HasPrefix(args[i], "-") {
			names = append(names, args[i])
			continue
		}
		name, value, given := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		flagged := name == "etcd-snapshot-compress" || name == "snapshot-compress" || name == "debug"
		if !given && !flagged {
			if i++; i == len(args) {
				return fmt.Errorf("flag needs an argument: -%s", name)
			}
			value = args[i]
		}
		switch name {
		case "name":
			prefix = value
		case "output", "o":
			output = value
		case "dir", "etcd-snapshot-dir":
			rest = append(rest, "--etcd-snapshot-dir="+value)
		case "snapshot-retention", "etcd-snapshot-retention":
			rest = append(rest, "--etcd-snapshot-retention="+value)
		case "snapshot-compress", "etcd-snapshot-compress":
			rest = append(rest, "--etcd-snapshot-compress=true")
		default:
			rest = append(rest, "--"+name+"="+value)
		}
	}
	c, err := readConfig(rest, true)
	if err != nil {
		return err
	}
	switch action {
	case "save":
		if err := c.askForSnapshot(prefix); err != nil {
			return fmt.Errorf("error running snapshot: %w", err)
		}
		return nil
	case "ls", "list", "l":
		all, err := c.snapshots()
		if err != nil {
			return err
		}
		return show(all, output)
	case "delete":
		return c.deleteSnapshots(names)
	case "prune":
		return c.prune(prefix)
	}
	return fmt.Errorf("unknown command %q", action)
}

func show(all []Snapshot, output string) error {
	switch output {
	case "json":
		return json.NewEncoder(os.Stdout).Encode(all)
	case "yaml":
		content, err := yaml.Marshal(all)
		fmt.Print(string(content))
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintln(table, "Name\tLocation\tSize\tCreated")
	for _, found := range all {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\n", found.Name, found.Location, found.Size, found.Created.Format(time.RFC3339))
	}
	return table.Flush()
}

func (c *Config) deleteSnapshots(names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("no snapshots given for removal")
	}
	for _, name := range names {
		if err := os.Remove(filepath.Join(c.snapshotDir(), filepath.Base(name))); err != nil {
			return err
		}
		info("Snapshot %s deleted.", name)
	}
	return nil
}
