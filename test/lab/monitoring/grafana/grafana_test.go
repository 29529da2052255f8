package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sources = `apiVersion: 1
datasources:
  - { name: Prometheus, type: prometheus, uid: prometheus, url: "${PROMETHEUS}", isDefault: true }
`

const sound = `{"uid": "cluster", "title": "Cluster", "schemaVersion": 41, "tags": ["keybuzz"],
"templating": {"list": [{"name": "node", "type": "query", "datasource": {"type": "prometheus", "uid": "prometheus"}}]},
"panels": [
  {"id": 1, "type": "row", "title": "Now", "gridPos": {"x": 0, "y": 0, "w": 24, "h": 1}},
  {"id": 2, "type": "stat", "title": "Up", "gridPos": {"x": 0, "y": 1, "w": 12, "h": 4},
   "datasource": {"type": "prometheus", "uid": "prometheus"}, "targets": [{"refId": "A", "expr": "up"}]},
  {"id": 3, "type": "text", "title": "Words", "gridPos": {"x": 12, "y": 1, "w": 12, "h": 4}}
]}`

// install makes what a pod has: provisioning files, a dashboard, folders, and gives its settings.
func install(t *testing.T, files map[string]string, environment ...string) settings {
	t.Helper()
	root := t.TempDir()
	all := map[string]string{
		"provisioning/datasources/all.yaml": sources,
		"provisioning/dashboards/all.yaml":  "apiVersion: 1\nproviders: [{ name: keybuzz, folder: KeyBuzz, options: { path: " + root + "/boards } }]\n",
		"boards/cluster.json":               sound,
		"password":                          "a secret\n",
		"data/":                             "",
	}
	for name, content := range files {
		all[name] = content
	}
	for name, content := range all {
		file := filepath.Join(root, name)
		os.MkdirAll(filepath.Dir(file), 0o755)
		if strings.HasSuffix(name, "/") {
			os.MkdirAll(file, 0o755)
		} else if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	given, err := readSettings(append([]string{
		"GF_PATHS_PROVISIONING=" + root + "/provisioning", "GF_PATHS_DATA=" + root + "/data", "GF_PATHS_PLUGINS=" + root + "/data/plugins",
		"GF_PATHS_CONFIG=" + root + "/grafana.ini", "GF_SECURITY_ADMIN_PASSWORD__FILE=" + root + "/password", "PROMETHEUS=http://prometheus:9090",
	}, environment...))
	if err != nil {
		t.Fatal(err)
	}
	return given
}

func TestSoundProvisioning(t *testing.T) {
	there, err := readProvisioning(install(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if len(there.dashboards) != 1 || there.dashboards[0].folder != "KeyBuzz" || there.datasources[0].URL != "http://prometheus:9090" {
		t.Errorf("%+v", there)
	}
}

func TestRefusals(t *testing.T) {
	board := func(old, new string) map[string]string {
		if !strings.Contains(sound, old) {
			t.Fatal(old)
		}
		return map[string]string{"boards/cluster.json": strings.Replace(sound, old, new, 1)}
	}
	source := func(text string) map[string]string {
		return map[string]string{"provisioning/datasources/all.yaml": text}
	}
	for want, files := range map[string]map[string]string{
		"apiVersion is 2":              source(strings.Replace(sources, "apiVersion: 1", "apiVersion: 2", 1)),
		"has no name or no type":       source(strings.Replace(sources, "type: prometheus,", "", 1)),
		"url \"prometheus\" is none":   source(strings.Replace(sources, "${PROMETHEUS}", "prometheus", 1)),
		"are both the default":         source(sources + "  - { name: Other, type: prometheus, url: 'http://other', isDefault: true }\n"),
		"two datasources are named":    source(sources + "  - { name: Prometheus, type: prometheus, url: 'http://other' }\n"),
		"did not find":                 source("apiVersion: 1\ndatasources: [\n"),
		"has no options.path":          {"provisioning/dashboards/all.yaml": "apiVersion: 1\nproviders: [{ name: x }]\n"},
		"no such file":                 {"provisioning/dashboards/all.yaml": "apiVersion: 1\nproviders: [{ name: x, options: { path: /nowhere } }]\n"},
		"unexpected end of JSON":       {"boards/cluster.json": "{"},
		"has the uid \"cluster\" too":  {"boards/other/again.json": sound},
		"it has no title":              board(`"Cluster"`, `" "`),
		"uid \"\" is empty":            board(`"cluster"`, `""`),
		"no schemaVersion":             board(`"schemaVersion": 41,`, ``),
		"type \"graph\"":               board(`"stat"`, `"graph"`),
		"not within 24 columns":        board(`"x": 12, "y": 1, "w": 12`, `"x": 12, "y": 1, "w": 13`),
		"lies on panel 2":              board(`"x": 12, "y": 1`, `"x": 11, "y": 1`),
		"no number of its own":         board(`"id": 3`, `"id": 2`),
		"has no expr":                  board(`"expr": "up"`, `"expr": ""`),
		"refId \"\" is empty":          board(`"refId": "A"`, `"refId": ""`),
		"none that is provisioned":     board(`"uid": "prometheus"}, "targets"`, `"uid": "loki"}, "targets"`),
		"is of type prometheus":        board(`"type": "prometheus", "uid": "prometheus"}, "targets"`, `"type": "loki", "uid": "prometheus"}, "targets"`),
		"no variable of type":          board(`"uid": "prometheus"}, "targets"`, `"uid": "${source}"}, "targets"`),
		"variable \"node\" is of type": board(`"type": "query"`, `"type": "list"`),
	} {
		if _, err := readProvisioning(install(t, files)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("wanted %q, got %v", want, err)
		}
	}
}

func TestConfigMapsAsTheyAreMounted(t *testing.T) {
	given := install(t, map[string]string{"boards/..2026/cluster.json": sound})
	boards := filepath.Join(given.get("paths", "data"), "../boards")
	os.Remove(filepath.Join(boards, "cluster.json"))
	os.Symlink("..2026", filepath.Join(boards, "..data"))
	os.Symlink("..data/cluster.json", filepath.Join(boards, "cluster.json"))
	there, err := readProvisioning(given)
	if err != nil || len(there.dashboards) != 1 {
		t.Error(err, there.dashboards)
	}
}

func TestSettings(t *testing.T) {
	given := install(t, map[string]string{"grafana.ini": "[server]\nhttp_port = 3001\nroot_url = https://$__env{HOST}/\n[auth.anonymous]\nenabled = true\n"},
		"HOST=grafana.keybuzz.io", "GF_SERVER_HTTP_PORT=3002")
	for key, want := range map[string]string{"http_port": "3002", "root_url": "https://grafana.keybuzz.io/", "protocol": "http"} {
		if got := given.get("server", key); got != want {
			t.Errorf("%s: %q", key, got)
		}
	}
	if got := given.get("security", "admin_password"); got != "a secret" {
		t.Errorf("password: %q", got)
	}
	if !given.on("auth.anonymous", "enabled") || given.check() != nil {
		t.Error(given.check())
	}
	if _, err := readSettings([]string{"GF_DATABASE_PASSWORD=x", "GF_DATABASE_PASSWORD__FILE=/dev/null"}); err == nil {
		t.Error("a variable and its file were taken")
	}
	if _, err := readSettings([]string{"GF_DATABASE_PASSWORD__FILE=/nowhere"}); err == nil {
		t.Error("a missing file was taken")
	}
	for _, wrong := range []string{"GF_SERVER_ROOT_URL=grafana", "GF_SERVER_HTTP_PORT=http", "GF_PATHS_DATA=/proc/nowhere"} {
		if install(t, nil, wrong).check() == nil {
			t.Error(wrong)
		}
	}
}

func TestConnection(t *testing.T) {
	words := connection(install(t, nil, "GF_DATABASE_TYPE=postgres", "GF_DATABASE_HOST=10.0.0.10:5432", `GF_DATABASE_PASSWORD=a 'b\c`))
	for _, want := range []string{"host='10.0.0.10'", "port='5432'", `password='a \'b\\c'`} {
		if !strings.Contains(words, want) {
			t.Errorf("%s in %s", want, words)
		}
	}
}

func serving(t *testing.T, given settings) *httptest.Server {
	t.Helper()
	users, err := openUsers(given)
	if err != nil {
		t.Fatal(err)
	}
	there, err := readProvisioning(given)
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(newServer(given, users, there).handler())
	t.Cleanup(listening.Close)
	return listening
}

// ask gives the code and the body of an answer, without following to another page.
func ask(t *testing.T, method, address, password string) (int, string) {
	t.Helper()
	request, _ := http.NewRequest(method, address, nil)
	if password != "" {
		request.SetBasicAuth("admin", password)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

func TestAnswers(t *testing.T) {
	prometheus := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the password went on to Prometheus")
		}
		io.WriteString(w, r.URL.Path+"?"+r.URL.RawQuery)
	}))
	defer prometheus.Close()
	at := serving(t, install(t, nil, "PROMETHEUS="+prometheus.URL)).URL
	for _, one := range []struct {
		path, password string
		code           int
		holds          string
	}{
		{"/api/health", "", 200, `"database":"ok"`},
		{"/metrics", "", 200, "grafana_stat_totals_dashboard 1"},
		{"/login", "", 200, "stand-in"},
		{"/", "", 302, ""},
		{"/d/cluster/x", "", 302, ""},
		{"/d/cluster/x", "a secret", 200, "Cluster"},
		{"/api/search", "", 401, "Unauthorized"},
		{"/api/search", "wrong", 401, "Invalid username or password"},
		{"/api/search?tag=keybuzz", "a secret", 200, `"uid":"cluster"`},
		{"/api/search?tag=other", "a secret", 200, "[]"},
		{"/api/dashboards/uid/cluster", "a secret", 200, `"title":"Cluster"`},
		{"/api/dashboards/uid/none", "a secret", 404, "not found"},
		{"/api/datasources", "a secret", 200, `"uid":"prometheus"`},
		{"/api/datasources/uid/prometheus/health", "a secret", 200, "OK"},
		{"/api/datasources/proxy/uid/prometheus/api/v1/query?query=up", "a secret", 200, "/api/v1/query?query=up"},
		{"/api/datasources/proxy/uid/loki/api/v1/query", "a secret", 404, "not found"},
		{"/api/datasources/proxy/uid/prometheus/api/v1/query", "", 401, "Unauthorized"},
		{"/api/nothing", "a secret", 404, "Not found"},
	} {
		if code, body := ask(t, "GET", at+one.path, one.password); code != one.code || !strings.Contains(body, one.holds) {
			t.Errorf("%s: %d %s", one.path, code, body)
		}
	}
}

func TestLogin(t *testing.T) {
	at := serving(t, install(t, nil)).URL
	login := func(password string) *http.Response {
		body, _ := json.Marshal(map[string]string{"user": "admin", "password": password})
		response, err := http.Post(at+"/login", "application/json", strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response
	}
	if code := login("wrong").StatusCode; code != 401 {
		t.Error(code)
	}
	request, _ := http.NewRequest("GET", at+"/api/user", nil)
	for _, one := range login("a secret").Cookies() {
		request.AddCookie(one)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode != 200 {
		t.Error(err, response)
	}
}

func TestAnonymousIsAViewer(t *testing.T) {
	at := serving(t, install(t, nil, "GF_AUTH_ANONYMOUS_ENABLED=true")).URL
	for path, want := range map[string]int{"/api/search": 200, "/api/datasources": 401} {
		if code, _ := ask(t, "GET", at+path, ""); code != want {
			t.Errorf("%s: %d", path, code)
		}
	}
}

func TestThePasswordOfTheDatabaseStays(t *testing.T) {
	given := install(t, nil)
	serving(t, given)
	given.vars["GF_SECURITY_ADMIN_PASSWORD"] = "another"
	at := serving(t, given).URL
	for password, want := range map[string]int{"a secret": 200, "another": 401} {
		if code, _ := ask(t, "GET", at+"/api/user", password); code != want {
			t.Errorf("%s: %d", password, code)
		}
	}
	if err := command(given, []string{"cli", "admin", "reset-admin-password", "another"}); err != nil {
		t.Fatal(err)
	}
	if code, _ := ask(t, "GET", at+"/api/user", "another"); code != 200 {
		t.Error(code)
	}
}
