package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

type server struct {
	settings settings
	users    *users

	lock  sync.Mutex
	there provisioned

	metrics  *prometheus.Registry
	requests *prometheus.HistogramVec
	proxied  *prometheus.CounterVec
}

func newServer(given settings, users *users, there provisioned) *server {
	me := &server{settings: given, users: users, there: there, metrics: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "grafana_http_request_duration_seconds", Help: "Histogram of latencies for HTTP requests.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25},
		}, []string{"handler", "method", "status_code"}),
		proxied: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grafana_datasource_request_total", Help: "A counter for outgoing requests for an external data source",
		}, []string{"datasource", "datasource_type", "code", "method"}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "grafana_build_info", Help: "1"}, []string{"version", "edition"})
	build.WithLabelValues(version, "oss").Set(1)
	me.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		me.requests, me.proxied, build,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "grafana_stat_totals_dashboard", Help: "total amount of dashboards"},
			func() float64 { return float64(len(me.now().dashboards)) }))
	return me
}

func (me *server) now() provisioned {
	me.lock.Lock()
	defer me.lock.Unlock()
	return me.there
}

// reread takes dashboards that changed. What does not fit is told, and what was there stays.
func (me *server) reread(ctx context.Context, every time.Duration) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
		there, err := readProvisioning(me.settings)
		if err != nil {
			fmt.Fprintf(os.Stderr, "what is provisioned stays as it was: %s\n", err)
			continue
		}
		me.lock.Lock()
		me.there = there
		me.lock.Unlock()
	}
}

func (me *server) handler() http.Handler {
	mux := http.NewServeMux()
	route := func(pattern string, handle http.HandlerFunc) {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			began, noted := time.Now(), &status{ResponseWriter: w, code: http.StatusOK}
			handle(noted, r)
			me.requests.WithLabelValues(path, method, strconv.Itoa(noted.code)).Observe(time.Since(began).Seconds())
		})
	}
	route("GET /api/health", me.health)
	route("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "Ok") })
	if me.settings.on("metrics", "enabled") {
		mux.Handle("GET /metrics", promhttp.HandlerFor(me.metrics, promhttp.HandlerOpts{}))
	}
	route("GET /login", func(w http.ResponseWriter, _ *http.Request) { page(w, "Grafana", "<p>Log in by POST.</p>") })
	route("POST /login", me.login)
	route("GET /logout", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: cookie, MaxAge: -1, Path: "/"})
		http.Redirect(w, r, "/login", http.StatusFound)
	})
	route("GET /api/login/ping", me.only("Viewer", func(w http.ResponseWriter, _ *http.Request) { say(w, 200, "Logged in") }))
	route("GET /api/user", me.only("Viewer", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, map[string]any{"id": 1, "login": me.users.admin, "isGrafanaAdmin": true, "orgId": 1})
	}))
	route("GET /api/search", me.only("Viewer", me.search))
	route("GET /api/dashboards/uid/{uid}", me.only("Viewer", me.dashboard))
	route("GET /api/datasources", me.only("Admin", func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, me.now().datasources) }))
	route("GET /api/datasources/uid/{uid}", me.only("Admin", me.with(func(w http.ResponseWriter, _ *http.Request, one datasource) {
		answer(w, 200, one)
	})))
	route("GET /api/datasources/uid/{uid}/health", me.only("Viewer", me.with(me.works)))
	for _, path := range []string{"/api/datasources/proxy/uid/{uid}/{path...}", "/api/datasources/uid/{uid}/resources/{path...}"} {
		route("GET "+path, me.only("Viewer", me.with(me.proxy)))
		route("POST "+path, me.only("Viewer", me.with(me.proxy)))
	}
	route("GET /{$}", me.only("Viewer", func(w http.ResponseWriter, _ *http.Request) { page(w, "Home - Grafana", "") }))
	route("GET /d/{uid}/{rest...}", me.only("Viewer", me.dashboardPage))
	route("GET /d/{uid}", me.only("Viewer", me.dashboardPage))
	mux.HandleFunc("/", me.only("Viewer", func(w http.ResponseWriter, _ *http.Request) { say(w, 404, "Not found") }))
	return mux
}

type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(body)
}

func say(w http.ResponseWriter, code int, message string) {
	answer(w, code, map[string]string{"message": message})
}

func page(w http.ResponseWriter, title, body string) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	fmt.Fprintf(w, "<!DOCTYPE html><title>%s</title><p>A stand-in for Grafana, which renders nothing.</p>%s\n", html.EscapeString(title), body)
}

func (me *server) health(w http.ResponseWriter, _ *http.Request) {
	code, database := http.StatusOK, "ok"
	if me.users.ping() != nil {
		code, database = http.StatusServiceUnavailable, "failing"
	}
	answer(w, code, map[string]string{"database": database, "version": version, "commit": "stand-in"})
}

const cookie = "grafana_session"

// session is the same after a restart, and another one with another password.
func (me *server) session() string {
	hash, err := me.users.hash()
	if err != nil {
		return ""
	}
	made := hmac.New(sha256.New, []byte(me.settings.get("security", "secret_key")))
	made.Write([]byte(me.users.admin + "\n" + hash))
	return hex.EncodeToString(made.Sum(nil))
}

func (me *server) login(w http.ResponseWriter, r *http.Request) {
	var given struct{ User, Password string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&given); err != nil {
		say(w, 400, "bad login data")
	} else if !me.users.knows(given.User, given.Password) {
		say(w, 401, "Invalid username or password")
	} else {
		http.SetCookie(w, &http.Cookie{Name: cookie, Value: me.session(), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
			Secure: me.settings.on("security", "cookie_secure")})
		answer(w, 200, map[string]string{"message": "Logged in", "redirectUrl": "/"})
	}
}

// only lets in who has logged in, and who is anonymous where that is on and a viewer may do it.
func (me *server) only(role string, handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name, password, basic := r.BasicAuth()
		basic = basic && me.settings.on("auth.basic", "enabled")
		sent, err := r.Cookie(cookie)
		session := me.session()
		switch {
		case basic && me.users.knows(name, password),
			!basic && err == nil && session != "" && hmac.Equal([]byte(sent.Value), []byte(session)),
			!basic && role == "Viewer" && me.settings.on("auth.anonymous", "enabled"):
			handle(w, r)
		case basic:
			say(w, 401, "Invalid username or password")
		case !strings.HasPrefix(r.URL.Path, "/api/") && r.Method == http.MethodGet:
			http.Redirect(w, r, "/login", http.StatusFound)
		default:
			say(w, 401, "Unauthorized")
		}
	}
}

func (me *server) search(w http.ResponseWriter, r *http.Request) {
	found := []map[string]any{}
	text, tags := strings.ToLower(r.FormValue("query")), r.URL.Query()["tag"]
	for _, one := range me.now().dashboards {
		all := strings.Contains(strings.ToLower(one.Title), text)
		for _, tag := range tags {
			all = all && strings.Contains("\n"+strings.Join(one.Tags, "\n")+"\n", "\n"+tag+"\n")
		}
		if all {
			found = append(found, map[string]any{"uid": one.UID, "title": one.Title, "type": "dash-db", "tags": one.Tags,
				"url": "/d/" + one.UID, "folderTitle": one.folder})
		}
	}
	answer(w, 200, found)
}

func (me *server) find(uid string) *dashboard {
	for _, one := range me.now().dashboards {
		if one.UID == uid {
			return &one
		}
	}
	return nil
}

func (me *server) dashboard(w http.ResponseWriter, r *http.Request) {
	if one := me.find(r.PathValue("uid")); one == nil {
		say(w, 404, "Dashboard not found")
	} else {
		answer(w, 200, map[string]any{"dashboard": one.raw, "meta": map[string]any{"provisioned": true, "canSave": false,
			"folderTitle": one.folder, "url": "/d/" + one.UID}})
	}
}

// dashboardPage answers what a link in a message opens. The real one answers 200 for any uid, and its script tells.
func (me *server) dashboardPage(w http.ResponseWriter, r *http.Request) {
	if one := me.find(r.PathValue("uid")); one == nil {
		page(w, "Grafana", "<p>Dashboard not found</p>")
	} else {
		page(w, one.Title+" - Grafana", "")
	}
}

func (me *server) with(handle func(http.ResponseWriter, *http.Request, datasource)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, one := range me.now().datasources {
			if one.UID == r.PathValue("uid") {
				handle(w, r, one)
				return
			}
		}
		say(w, 404, "Data source not found")
	}
}

func (me *server) works(w http.ResponseWriter, r *http.Request, one datasource) {
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Get(strings.TrimRight(one.URL, "/") + "/api/v1/query?query=1%2B1")
	if err == nil {
		response.Body.Close()
		if response.StatusCode != 200 {
			err = fmt.Errorf("it answers %s", response.Status)
		}
	}
	if err != nil {
		answer(w, 400, map[string]string{"status": "ERROR", "message": err.Error()})
	} else {
		answer(w, 200, map[string]string{"status": "OK", "message": "Successfully queried the Prometheus API."})
	}
}

func (me *server) proxy(w http.ResponseWriter, r *http.Request, one datasource) {
	target, err := url.Parse(one.URL)
	if err != nil {
		say(w, 502, err.Error())
		return
	}
	through := &httputil.ReverseProxy{
		Rewrite: func(out *httputil.ProxyRequest) {
			out.SetURL(target)
			out.Out.URL.Path = strings.TrimRight(target.Path, "/") + "/" + r.PathValue("path")
			out.Out.URL.RawPath = ""
			for _, name := range []string{"Authorization", "Cookie"} {
				out.Out.Header.Del(name)
			}
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { say(w, 502, err.Error()) },
		ModifyResponse: func(response *http.Response) error {
			me.proxied.WithLabelValues(one.Name, one.Type, strconv.Itoa(response.StatusCode), r.Method).Inc()
			return nil
		},
	}
	through.ServeHTTP(w, r)
}
