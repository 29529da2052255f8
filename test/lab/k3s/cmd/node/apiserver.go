package main

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	basecompatibility "k8s.io/component-base/compatibility"
)

// API is the kube-apiserver of this server. As in K3s it runs inside the process: the supervisor's listener hands
// requests over with the client's certificate, so that one port serves both.
type API struct {
	handler atomic.Pointer[http.Handler]
	ready   chan struct{}
}

func (a *API) isReady() bool {
	select {
	case <-a.ready:
		return true
	default:
		return false
	}
}

func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if handler := a.handler.Load(); handler != nil {
		(*handler).ServeHTTP(w, r)
		return
	}
	sendError(w, http.StatusServiceUnavailable, "apiserver not ready")
}

func (c *Config) apiArguments() []string {
	arguments := []string{
		"--advertise-address=" + c.advertise(),
		"--allow-privileged=true",
		"--anonymous-auth=false",
		"--api-audiences=https://kubernetes.default.svc." + c.clusterDomain() + ",k3s",
		"--authorization-mode=Node,RBAC",
		"--bind-address=127.0.0.1",
		"--cert-dir=" + tlsFile("temporary-certs"),
		"--client-ca-file=" + tlsFile("client-ca.crt"),
		"--enable-admission-plugins=NodeRestriction",
		"--enable-aggregator-routing=true",
		"--enable-bootstrap-token-auth=true",
		"--etcd-servers=https://127.0.0.1:2379",
		"--etcd-cafile=" + tlsFile("etcd/server-ca.crt"),
		"--etcd-certfile=" + tlsFile("etcd/client.crt"),
		"--etcd-keyfile=" + tlsFile("etcd/client.key"),
		"--kubelet-certificate-authority=" + tlsFile("server-ca.crt"),
		"--kubelet-client-certificate=" + tlsFile("client-kube-apiserver.crt"),
		"--kubelet-client-key=" + tlsFile("client-kube-apiserver.key"),
		"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
		"--profiling=false",
		"--proxy-client-cert-file=" + tlsFile("client-auth-proxy.crt"),
		"--proxy-client-key-file=" + tlsFile("client-auth-proxy.key"),
		"--requestheader-allowed-names=system:auth-proxy",
		"--requestheader-client-ca-file=" + tlsFile("request-header-ca.crt"),
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--secure-port=6444",
		"--service-account-issuer=https://kubernetes.default.svc." + c.clusterDomain(),
		"--service-account-key-file=" + tlsFile("service.key"),
		"--service-account-signing-key-file=" + tlsFile("service.current.key"),
		"--service-cluster-ip-range=" + c.serviceCIDR(),
		"--service-node-port-range=" + c.or("service-node-port-range", "30000-32767"),
		"--storage-backend=etcd3",
		"--tls-cert-file=" + tlsFile("serving-kube-apiserver.crt"),
		"--tls-private-key-file=" + tlsFile("serving-kube-apiserver.key"),
	}
	if c.is("secrets-encryption") {
		arguments = append(arguments, "--encryption-provider-config="+encryptionConfig,
			"--encryption-provider-config-automatic-reload=true")
	}
	return append(arguments, c.extra("kube-apiserver-arg")...)
}

// run serves until the context ends. It returns early only with an error.
func (a *API) run(ctx context.Context, arguments []string) error {
	info("Running kube-apiserver %v", arguments)
	s := options.NewServerRunOptions()
	registry := s.GenericServerRunOptions.ComponentGlobalsRegistry
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, set := range s.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if err := registry.Set(); err != nil {
		return err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	gates := registry.FeatureGateFor(basecompatibility.DefaultKubeComponent)
	if err := logsapi.ValidateAndApply(s.Logs, gates); err != nil {
		return err
	}
	completed, err := s.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return utilerrors.NewAggregate(errs)
	}
	config, err := app.NewConfig(completed)
	if err != nil {
		return err
	}
	// Endpoints of the Service kubernetes name the port that clients reach, which is the supervisor's.
	serving := config.KubeAPIs.ControlPlane.Generic.SecureServing
	serving.Listener = advertised{serving.Listener, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6443}}
	chain, err := config.Complete()
	if err != nil {
		return err
	}
	server, err := app.CreateServerChain(chain)
	if err != nil {
		return err
	}
	prepared, err := server.PrepareRun()
	if err != nil {
		return err
	}
	var handler http.Handler = server.GenericAPIServer.Handler
	a.handler.Store(&handler)
	return prepared.Run(ctx)
}

type advertised struct {
	net.Listener
	address net.Addr
}

func (a advertised) Addr() net.Addr { return a.address }

// waitReady returns when /readyz of this very API server holds.
func (a *API) waitReady(ctx context.Context) {
	client, err := adminClient()
	for ; ctx.Err() == nil; time.Sleep(500 * time.Millisecond) {
		if err != nil {
			client, err = adminClient()
			continue
		}
		if client.Discovery().RESTClient().Get().AbsPath("/readyz").Timeout(5*time.Second).Do(ctx).Error() == nil {
			close(a.ready)
			return
		}
	}
}

func clientFor(file string) (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 50, 100
	config.UserAgent = "k3s"
	return kubernetes.NewForConfig(config)
}

func adminClient() (*kubernetes.Clientset, error) {
	return clientFor(serverDir + "/cred/supervisor.kubeconfig")
}
