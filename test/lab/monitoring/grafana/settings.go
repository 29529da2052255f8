package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/ini.v1"
)

// settings are grafana.ini's, under what the environment says.
type settings struct {
	file *ini.File
	vars map[string]string
}

var defaults = map[string]string{
	"paths.data": "/var/lib/grafana", "paths.plugins": "/var/lib/grafana/plugins", "paths.logs": "/var/log/grafana",
	"paths.provisioning": "/etc/grafana/provisioning", "log.mode": "console",
	"server.http_addr": "", "server.http_port": "3000", "server.root_url": "http://localhost:3000/", "server.protocol": "http",
	"database.type": "sqlite3", "database.host": "127.0.0.1:3306", "database.name": "grafana", "database.user": "root", "database.ssl_mode": "disable",
	"security.admin_user": "admin", "security.admin_password": "admin", "security.secret_key": "a key that everybody knows",
	"auth.anonymous.enabled": "false", "auth.basic.enabled": "true", "metrics.enabled": "true",
}

// readSettings takes variables as the image's entry point does: GF_NAME__FILE is the content of a file, and excludes GF_NAME.
func readSettings(environment []string) (settings, error) {
	given := settings{vars: map[string]string{}}
	for _, line := range environment {
		name, value, _ := strings.Cut(line, "=")
		given.vars[name] = value
	}
	for name, value := range given.vars {
		short, isFile := strings.CutSuffix(name, "__FILE")
		if !isFile || !strings.HasPrefix(name, "GF_") || value == "" {
			continue
		}
		if given.vars[short] != "" {
			return given, fmt.Errorf("both %s and %s are set, which exclude each other", short, name)
		}
		content, err := os.ReadFile(value)
		if err != nil {
			return given, fmt.Errorf("%s: %w", name, err)
		}
		given.vars[short] = strings.TrimRight(string(content), "\n")
	}
	file := given.vars["GF_PATHS_CONFIG"]
	if file == "" {
		file = "/etc/grafana/grafana.ini"
	}
	var err error
	given.file, err = ini.LoadSources(ini.LoadOptions{Loose: true, KeyValueDelimiters: "=", UnescapeValueDoubleQuotes: true}, file)
	if err != nil {
		return given, fmt.Errorf("%s: %w", file, err)
	}
	return given, nil
}

// get gives a key: GF_SECTION_KEY, else the file's, else Grafana's default.
func (given settings) get(section, key string) string {
	name := "GF_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(section+"_"+key))
	if value := given.vars[name]; value != "" {
		return given.expand(value)
	}
	if value := given.file.Section(section).Key(key).String(); value != "" {
		return given.expand(value)
	}
	return defaults[section+"."+key]
}

func (given settings) on(section, key string) bool {
	value, _ := strconv.ParseBool(given.get(section, key))
	return value
}

var expression = regexp.MustCompile(`\$\$|\$__(file|env)\{([^}]*)\}|\$\{(\w+)\}|\$(\w+)`)

// expand puts in what $NAME, ${NAME}, $__env{NAME} and $__file{PATH} stand for. $$ is a dollar.
func (given settings) expand(text string) string {
	return expression.ReplaceAllStringFunc(text, func(found string) string {
		part := expression.FindStringSubmatch(found)
		switch {
		case found == "$$":
			return "$"
		case part[1] == "file":
			content, _ := os.ReadFile(part[2])
			return strings.TrimSpace(string(content))
		default:
			return given.vars[part[2]+part[3]+part[4]]
		}
	})
}

// check refuses settings that cannot work, and folders that cannot be written.
func (given settings) check() error {
	root, err := url.Parse(strings.NewReplacer("%(protocol)s", "http", "%(domain)s", "localhost", "%(http_port)s", "3000").
		Replace(given.get("server", "root_url")))
	if err != nil || root.Host == "" || !strings.HasPrefix(root.Scheme, "http") {
		return fmt.Errorf("[server] root_url is no URL: %q", given.get("server", "root_url"))
	}
	if port, err := strconv.Atoi(given.get("server", "http_port")); err != nil || port < 1 || port > 65535 {
		return fmt.Errorf("[server] http_port is no port: %q", given.get("server", "http_port"))
	}
	if given.get("server", "protocol") != "http" {
		return fmt.Errorf("[server] protocol: the stand-in knows http only, not %q", given.get("server", "protocol"))
	}
	folders := []string{given.get("paths", "data"), given.get("paths", "plugins")}
	if strings.Contains(given.get("log", "mode"), "file") {
		folders = append(folders, given.get("paths", "logs"))
	}
	for _, folder := range folders {
		if err := writable(folder); err != nil {
			return fmt.Errorf("%s is not writable: %w", folder, err)
		}
	}
	return nil
}

func writable(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(folder, ".standin-*")
	if err != nil {
		return err
	}
	file.Close()
	return os.Remove(filepath.Clean(file.Name()))
}
