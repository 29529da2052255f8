package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

type datasource struct {
	Name      string `yaml:"name" json:"name"`
	Type      string `yaml:"type" json:"type"`
	UID       string `yaml:"uid" json:"uid"`
	URL       string `yaml:"url" json:"url"`
	Access    string `yaml:"access" json:"access"`
	IsDefault bool   `yaml:"isDefault" json:"isDefault"`
	Editable  bool   `yaml:"editable" json:"-"`
	ReadOnly  bool   `yaml:"-" json:"readOnly"`
}

type provider struct {
	Name      string `yaml:"name"`
	Type      string `yaml:"type"`
	Folder    string `yaml:"folder"`
	FolderUID string `yaml:"folderUid"`
	Seconds   int    `yaml:"updateIntervalSeconds"`
	Options   struct {
		Path             string `yaml:"path"`
		FoldersFromFiles bool   `yaml:"foldersFromFilesStructure"`
	} `yaml:"options"`
}

// provisioned is what the files say.
type provisioned struct {
	datasources []datasource
	dashboards  []dashboard
	// How often the dashboards are read again.
	every time.Duration
}

// readProvisioning reads what Grafana would be provisioned with. Its error names all that Grafana would refuse, or leave out.
func readProvisioning(given settings) (provisioned, error) {
	found := provisioned{every: 10 * time.Second}
	var faults []error
	refuse := func(file, format string, words ...any) {
		faults = append(faults, fmt.Errorf("%s: "+format, append([]any{file}, words...)...))
	}
	folder := given.get("paths", "provisioning")
	eachFile(given, filepath.Join(folder, "datasources"), refuse, func(file string, node *yaml.Node) {
		var content struct {
			Datasources []datasource `yaml:"datasources"`
		}
		if err := node.Decode(&content); err != nil {
			refuse(file, "%w", err)
		}
		for _, one := range content.Datasources {
			found.datasources = append(found.datasources, addDatasource(found.datasources, one, func(format string, words ...any) {
				refuse(file, format, words...)
			}))
		}
	})
	var providers []provider
	eachFile(given, filepath.Join(folder, "dashboards"), refuse, func(file string, node *yaml.Node) {
		var content struct {
			Providers []provider `yaml:"providers"`
		}
		if err := node.Decode(&content); err != nil {
			refuse(file, "%w", err)
		}
		for _, one := range content.Providers {
			switch {
			case one.Name == "":
				refuse(file, "a provider has no name")
			case slices.ContainsFunc(providers, func(other provider) bool { return other.Name == one.Name }):
				refuse(file, "two providers are named %q", one.Name)
			case one.Type != "" && one.Type != "file":
				refuse(file, "provider %q: type %q is not file", one.Name, one.Type)
			case one.Options.Path == "":
				refuse(file, "provider %q has no options.path", one.Name)
			case one.Options.FoldersFromFiles && one.Folder+one.FolderUID != "":
				refuse(file, "provider %q: folder and folderUid must be empty with foldersFromFilesStructure", one.Name)
			default:
				providers = append(providers, one)
			}
			if one.Seconds > 0 {
				found.every = time.Duration(one.Seconds) * time.Second
			}
		}
	})
	for _, one := range providers {
		addDashboards(&found, one, refuse)
	}
	return found, errors.Join(faults...)
}

// eachFile reads the YAML files of a folder, which must have an apiVersion that is known, with the environment put in.
func eachFile(given settings, folder string, refuse func(string, string, ...any), take func(string, *yaml.Node)) {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		refuse(folder, "%w", err)
	}
	for _, entry := range entries {
		file := filepath.Join(folder, entry.Name())
		if extension := filepath.Ext(file); extension != ".yaml" && extension != ".yml" {
			continue
		}
		var node yaml.Node
		var head struct {
			Version int `yaml:"apiVersion"`
		}
		content, err := os.ReadFile(file)
		if err == nil {
			err = yaml.Unmarshal(content, &node)
		}
		if err == nil {
			err = node.Decode(&head)
		}
		switch {
		case err != nil:
			refuse(file, "%w", err)
		case head.Version != 1:
			refuse(file, "apiVersion is %d, and only 1 is known", head.Version)
		default:
			expandAll(given, &node)
			take(file, &node)
		}
	}
}

func expandAll(given settings, node *yaml.Node) {
	if node.Kind == yaml.ScalarNode && strings.Contains(node.Value, "$") {
		node.Value = given.expand(node.Value)
	}
	for _, child := range node.Content {
		expandAll(given, child)
	}
}

func addDatasource(before []datasource, one datasource, refuse func(string, ...any)) datasource {
	if one.UID == "" && one.Name != "" {
		one.UID = fmt.Sprintf("P%X", sha256.Sum256([]byte(one.Name)))[:17]
	}
	if one.Access == "" {
		one.Access = "proxy"
	}
	one.ReadOnly = !one.Editable
	address, err := url.Parse(one.URL)
	switch {
	case one.Name == "" || one.Type == "":
		refuse("a datasource has no name or no type: %q, %q", one.Name, one.Type)
	case !isUID(one.UID):
		refuse("datasource %q: uid %q has other signs than letters, digits, - and _, or more than 40", one.Name, one.UID)
	case one.Access != "proxy" && one.Access != "direct":
		refuse("datasource %q: access is %q, neither proxy nor direct", one.Name, one.Access)
	case one.Type == "prometheus" && (err != nil || address.Host == "" || !strings.HasPrefix(address.Scheme, "http")):
		refuse("datasource %q: url %q is none", one.Name, one.URL)
	}
	for _, other := range before {
		switch {
		case other.Name == one.Name:
			refuse("two datasources are named %q", one.Name)
		case other.UID == one.UID:
			refuse("datasources %q and %q have the uid %q", other.Name, one.Name, one.UID)
		case other.IsDefault && one.IsDefault:
			refuse("datasources %q and %q are both the default", other.Name, one.Name)
		}
	}
	return one
}

// addDashboards reads the JSON files below a provider's folder. Names that begin with a dot are a ConfigMap's own.
func addDashboards(found *provisioned, from provider, refuse func(string, string, ...any)) {
	var walk func(folder, title string)
	walk = func(folder, title string) {
		entries, err := os.ReadDir(folder)
		if err != nil {
			refuse(folder, "%w", err)
		}
		for _, entry := range entries {
			file := filepath.Join(folder, entry.Name())
			about, err := os.Stat(file)
			switch {
			case strings.HasPrefix(entry.Name(), "."):
			case err != nil:
				refuse(file, "%w", err)
			case about.IsDir() && from.Options.FoldersFromFiles:
				walk(file, entry.Name())
			case about.IsDir():
				walk(file, title)
			case filepath.Ext(file) == ".json":
				one, err := readDashboard(file, title, *found)
				if err != nil {
					refuse(file, "%w", err)
				} else {
					found.dashboards = append(found.dashboards, one)
				}
			}
		}
	}
	walk(from.Options.Path, from.Folder)
}
