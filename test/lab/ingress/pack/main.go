// Packs a folder as an image of one layer, in the format of `docker save`.
//
//	pack OUT NAME FOLDER CONFIG.json
//
// What is in the folder belongs to root, but for the folders that nginx writes into; the two programs get the right to
// take ports below 1024. Neither needs root here, and the same content makes the same image.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The user that the real image has, too. Its group is root's.
const user = 101

var owned = []string{"etc/nginx", "var/lib/nginx"}

// The real image has them on both: the first has to hold the right for the second to get it, since no process of the
// pod may gain what the one before it did not have (allowPrivilegeEscalation: false).
var capable = map[string]string{
	"nginx-ingress":  capability(false),
	"usr/sbin/nginx": capability(true),
}

// capability is NET_BIND_SERVICE, permitted and effective, as the kernel keeps it with a file (capabilities(7)).
func capability(inheritable bool) string {
	const revision2, effective, netBindService = 0x02000000, 1, 1 << 10
	words := []uint32{revision2 | effective, netBindService, 0, 0, 0}
	if inheritable {
		words[2] = netBindService
	}
	var value []byte
	for _, word := range words {
		value = binary.LittleEndian.AppendUint32(value, word)
	}
	return string(value)
}

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: pack OUT NAME FOLDER CONFIG.json")
		os.Exit(1)
	}
	if err := pack(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func pack(out, name, folder, configFile string) error {
	content, err := os.ReadFile(configFile)
	if err != nil {
		return err
	}
	layer, err := layerOf(folder)
	if err != nil {
		return err
	}
	image, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "config": json.RawMessage(content), "created": "1970-01-01T00:00:00Z",
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hash(layer)}},
	})
	if err != nil {
		return err
	}
	layerName, configName := hash(layer)+".tar", hash(image)+".json"
	manifest, err := json.Marshal([]map[string]any{{"Config": configName, "RepoTags": []string{name}, "Layers": []string{layerName}}})
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	for _, file := range []struct {
		name    string
		content []byte
	}{{layerName, layer}, {configName, image}, {"manifest.json", manifest}} {
		if err := writer.WriteHeader(&tar.Header{Name: file.name, Mode: 0o644, Size: int64(len(file.content))}); err != nil {
			return err
		}
		if _, err := writer.Write(file.content); err != nil {
			return err
		}
	}
	if err := writer.Close(); err != nil {
		return err
	}
	return os.WriteFile(out, archive.Bytes(), 0o644)
}

func hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func layerOf(folder string) ([]byte, error) {
	var layer bytes.Buffer
	writer := tar.NewWriter(&layer)
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		held, err := entry.Info()
		if err != nil {
			return err
		}
		target, _ := os.Readlink(path)
		header, err := tar.FileInfoHeader(held, target)
		if err != nil {
			return err
		}
		plain := &tar.Header{Name: name, Linkname: target, Mode: header.Mode, Typeflag: header.Typeflag, Size: header.Size}
		if slices.ContainsFunc(owned, func(top string) bool { return name == top || strings.HasPrefix(name, top+"/") }) {
			plain.Uid = user
		}
		if value := capable[name]; value != "" {
			plain.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": value}
		}
		if err := writer.WriteHeader(plain); err != nil || !held.Mode().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil {
			_, err = writer.Write(content)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = writer.Close()
	return layer.Bytes(), err
}
