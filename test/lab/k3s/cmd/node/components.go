package main

import (
	"context"
	"fmt"
	"os"
	"time"

	containerd "github.com/containerd/containerd/v2/cmd/containerd/command"
	"github.com/containerd/containerd/v2/cmd/ctr/app"
	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	logsapi "k8s.io/component-base/logs/api/v1"
	kubecmd "k8s.io/kubectl/pkg/cmd"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	_ "github.com/containerd/containerd/v2/cmd/containerd/builtins"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

// component is the upstream program of that name, nil where there is none.
func component(name string) func() int {
	switch name {
	case "kube-controller-manager":
		return func() int { return cli.Run(controllers.NewControllerManagerCommand()) }
	case "kube-scheduler":
		return func() int { return cli.Run(scheduler.NewSchedulerCommand()) }
	case "kubectl":
		return func() int {
			// docs.k3s.io/cluster-access: k3s kubectl reads the server's kubeconfig unless told otherwise.
			if _, err := os.Stat(kubeconfig); err == nil && os.Getenv("KUBECONFIG") == "" {
				os.Setenv("KUBECONFIG", kubeconfig)
			}
			return cli.Run(kubecmd.NewDefaultKubectlCommand())
		}
	case "containerd":
		return func() int { return done(containerd.App().Run(os.Args)) }
	case "ctr":
		return func() int {
			if os.Getenv("CONTAINERD_ADDRESS") == "" {
				os.Setenv("CONTAINERD_ADDRESS", containerdSocket)
			}
			if os.Getenv("CONTAINERD_NAMESPACE") == "" {
				os.Setenv("CONTAINERD_NAMESPACE", "k8s.io")
			}
			return done(app.New().Run(os.Args))
		}
	}
	return nil
}

// The components of one process share its logging. Each of them would set it up again.
func init() { logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged }

func runKubelet(ctx context.Context, args []string) {
	within(ctx, "kubelet", kubelet.NewKubeletCommand(ctx), args)
}
func runKubeProxy(ctx context.Context, args []string) {
	within(ctx, "kube-proxy", proxy.NewProxyCommand(), args)
}

// within runs a component inside this process, as K3s does: pkg/daemons/executor/embed.go. So the metrics of all of them
// are on each of their ports, and where one of them ends, all do.
func within(ctx context.Context, name string, command *cobra.Command, args []string) {
	info("Running %s %v", name, args)
	command.SetArgs(args)
	command.SilenceErrors, command.SilenceUsage = true, true
	err := command.ExecuteContext(ctx)
	select {
	case <-ctx.Done(): // a kubelet hears of the signal to stop by itself
	case <-time.After(time.Second):
		fatal("%s exited: %v", name, err)
	}
}

func done(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
