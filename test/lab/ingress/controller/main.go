// The lab's stand-in for F5's NGINX Ingress Controller: Debian's nginx under a controller that keeps the part of the real
// one's behaviour that the project's manifests and scripts rely on. See ../README.md.
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
)

var release = "lab"

func main() {
	fmt.Printf("NGINX Ingress Controller Version=%s (a stand-in)\n", release)
	if len(os.Args) == 2 && os.Args[1] == "-version" {
		return
	}
	parsed, err := parseOptions(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	info("Starting with flags: %+q", os.Args[1:])

	config, err := rest.InClusterConfig()
	if err != nil {
		fatal("error creating client configuration: %v", err)
	}
	config.UserAgent, config.QPS, config.Burst = "nginx-ingress-lab", 50, 100
	api, err := newAPI(config)
	if err != nil {
		fatal("Failed to create client: %v", err)
	}
	server, err := api.serverVersion()
	if err != nil {
		fatal("error retrieving k8s version: %v", err)
	}
	info("Kubernetes version: %s", server)

	namespace, name := os.Getenv("POD_NAMESPACE"), os.Getenv("POD_NAME")
	pod := &core.Pod{}
	if err := api.get(pod, namespace, name); err != nil {
		fatal("Failed to get pod: %v", err)
	}
	missing, err := parsed.missingRights(api, namespace, name)
	if err != nil {
		fatal("Failed to ask for the rights of the service account: %v", err)
	}
	if len(missing) > 0 {
		fatal("The service account may not: %q", missing)
	}
	checkClass(api, parsed.class)

	broadcaster := record.NewBroadcaster()
	broadcaster.StartLogging(info)
	broadcaster.StartRecordingToSink(sink{api})
	events := broadcaster.NewRecorder(scheme, core.EventSource{Component: "nginx-ingress-controller"})
	c := newController(parsed, api, events, pod)
	c.prepare()
	c.nginx.start()
	go c.times.listen()

	go serve(parsed.readyPort, "/nginx-ready", func(answer http.ResponseWriter, _ *http.Request) {
		if !c.ready.Load() {
			http.Error(answer, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(answer, "Ready")
	})
	go serve(parsed.metricsPort, "/metrics", c.metrics)
	stop := make(chan struct{})
	go func() {
		if c.watch(stop) {
			c.run(stop)
		}
	}()
	go c.lead(stop)
	c.untilEnd(stop)
}

func checkClass(api API, name string) {
	class := &networking.IngressClass{}
	if err := api.get(class, "", name); err != nil {
		fatal("Error when getting IngressClass %s: %v", name, err)
	}
	if expected := "nginx.org/ingress-controller"; class.Spec.Controller != expected {
		fatal("IngressClass with name %s has an invalid Spec.Controller %s; expected %s", name, class.Spec.Controller, expected)
	}
}

// prepare reads what must be there before nginx starts, and writes its first configuration, unseen by nginx -t.
func (c *Controller) prepare() {
	die := func(reason string, err error) {
		c.events.Event(c.pod, core.EventTypeWarning, reason, err.Error())
		time.Sleep(200 * time.Millisecond)
		fatal("%v", err)
	}
	if c.defaultSecret != "" {
		namespace, name, _ := splitName(c.defaultSecret)
		secret := &core.Secret{}
		if err := c.api.get(secret, namespace, name); err != nil {
			die("SecretError", fmt.Errorf("error trying to get the default server TLS secret %s: could not find %s: %w", c.defaultSecret, c.defaultSecret, err))
		}
		if err := checkCertificate(secret); err != nil {
			die("SecretError", fmt.Errorf("error trying to get the default server TLS secret %s: %s is invalid: %w", c.defaultSecret, c.defaultSecret, err))
		}
		writeSecret(defaultCertificate, secret)
	}
	namespace, name, _ := splitName(c.configMap)
	configMap := &core.ConfigMap{}
	if err := c.api.get(configMap, namespace, name); err != nil {
		fatal("Error when getting %s: %v", c.configMap, err)
	}
	if !c.takeConfigMap(configMap) {
		time.Sleep(200 * time.Millisecond)
		fatal("The lab's stand-in cannot do what the ConfigMap %s says", c.configMap)
	}
	var rewritten bool
	known := c.world(&rewritten)
	for path, content := range map[string][]byte{mainFile: known.mainConfig(), defaultFile: known.defaultConfig()} {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			fatal("Failed to write config to %s: %v", path, err)
		}
	}
}

func serve(port int, path string, answer http.HandlerFunc) {
	mux := http.NewServeMux()
	mux.HandleFunc(path, answer)
	fatal("%v", (&http.Server{Addr: fmt.Sprintf(":%d", port), Handler: mux, ReadHeaderTimeout: 10 * time.Second}).ListenAndServe())
}

// untilEnd ends the process with nginx: nginx answers what it was asked before the SIGTERM, and takes no more.
func (c *Controller) untilEnd(stop chan struct{}) {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	select {
	case err := <-c.nginx.ended:
		fatal("nginx command exited unexpectedly with status: %v", err)
	case <-terminated:
		info("Received SIGTERM, shutting down")
		close(stop)
		if err := c.nginx.quit(); err != nil {
			fatal("Failed to quit nginx: %v", err)
		}
		<-c.nginx.ended
	}
	info("Exiting successfully")
}
