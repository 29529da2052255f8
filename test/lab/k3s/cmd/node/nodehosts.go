package main

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// updateNodeHosts keeps the nodes' addresses in the key of CoreDNS's ConfigMap that its hosts plugin reads, and lines
// that others have put there. Without the key CoreDNS does not start. K3s: pkg/node/controller.go.
func updateNodeHosts(ctx context.Context, client *kubernetes.Clientset, nodes []corev1.Node, gone []string) error {
	configs := client.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	held, err := configs.Get(ctx, "coredns", metav1.GetOptions{ResourceVersion: "0"})
	if apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	wanted := nodeHosts(held.Data["NodeHosts"], nodes, gone)
	if wanted == held.Data["NodeHosts"] {
		return nil
	}
	held = held.DeepCopy()
	if held.Data == nil {
		held.Data = map[string]string{}
	}
	held.Data["NodeHosts"] = wanted
	if _, err = configs.Update(ctx, held, metav1.UpdateOptions{}); apierrors.IsConflict(err) {
		return nil
	}
	info("Updated coredns node hosts entries [%s]", strings.Join(strings.Split(strings.TrimSpace(wanted), "\n"), ", "))
	return err
}

// nodeHosts are lines of an address, the node's name and, where it is another, its hostname.
func nodeHosts(held string, nodes []corev1.Node, gone []string) string {
	lines := map[string]string{}
	for _, line := range strings.Split(held, "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && !slices.Contains(gone, fields[1]) {
			lines[fields[1]] = line
		}
	}
	for _, node := range nodes {
		var address, hostname string
		for _, one := range node.Status.Addresses {
			if one.Type == corev1.NodeInternalIP && address == "" {
				address = one.Address
			} else if one.Type == corev1.NodeHostName {
				hostname = one.Address
			}
		}
		if address == "" {
			continue
		}
		lines[node.Name] = address + " " + node.Name
		if hostname != "" && hostname != node.Name {
			lines[node.Name] += " " + hostname
		}
	}
	var names []string
	for name := range lines {
		names = append(names, name)
	}
	slices.Sort(names)
	var all strings.Builder
	for _, name := range names {
		all.WriteString(lines[name] + "\n")
	}
	return all.String()
}
