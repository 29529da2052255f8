package main

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

const (
	controlPlaneLabel  = "node-role.kubernetes.io/control-plane"
	etcdLabel          = "node-role.kubernetes.io/etcd"
	memberAnnotation   = "etcd.k3s.cattle.io/node-name"
	addressAnnotation  = "etcd.k3s.cattle.io/node-address"
	etcdFinalizer      = "wrangler.cattle.io/managed-etcd-controller"
	etcdIsVoter        = corev1.NodeConditionType("EtcdIsVoter")
	conditionHeartbeat = 5 * time.Minute
)

// markOwn gives this server's node the labels and annotations that K3s's server sets, which a kubelet may not set
// itself. K3s: pkg/server/server.go (roles), pkg/etcd/metadata_controller.go.
func (e *Etcd) markOwn(ctx context.Context, client *kubernetes.Clientset) {
	patch, _ := json.Marshal(map[string]any{"metadata": map[string]any{
		"labels":      map[string]string{controlPlaneLabel: "true", etcdLabel: "true"},
		"annotations": map[string]string{memberAnnotation: e.name, addressAnnotation: e.config.NodeIP},
		"finalizers":  []string{etcdFinalizer},
	}})
	for ; ; time.Sleep(time.Second) {
		node, err := client.CoreV1().Nodes().Get(ctx, e.config.NodeName, metav1.GetOptions{})
		if err != nil || node.DeletionTimestamp != nil {
			continue
		}
		if node.Labels[controlPlaneLabel] != "true" || node.Labels[etcdLabel] != "true" ||
			node.Annotations[memberAnnotation] != e.name || !slices.Contains(node.Finalizers, etcdFinalizer) {
			_, err := client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			if err != nil {
				warn("Unable to set control-plane role label: %v", err)
			}
			continue
		}
		time.Sleep(4 * time.Second)
	}
}

// manageNodes runs on the server that leads etcd: it removes the members of nodes that were deleted, and says in a
// condition which nodes vote. K3s: pkg/etcd/member_controller.go, and setEtcdStatusCondition.
func (e *Etcd) manageNodes(ctx context.Context, client *kubernetes.Clientset) {
	var conditions time.Time
	for range time.Tick(2 * time.Second) {
		if !e.isLeader(ctx) {
			continue
		}
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			continue
		}
		update := time.Since(conditions) > manageEvery || e.fresh(nodes.Items)
		for i := range nodes.Items {
			node := &nodes.Items[i]
			if node.DeletionTimestamp != nil && slices.Contains(node.Finalizers, etcdFinalizer) {
				if err := e.release(ctx, client, node); err != nil {
					problem("Unable to remove node %s from etcd: %v", node.Name, err)
				}
			} else if node.Labels[etcdLabel] == "true" && update {
				if err := e.setCondition(ctx, client, node); err != nil {
					problem("Unable to set etcd status condition for %s: %v", node.Name, err)
				}
			}
		}
		if update {
			conditions = time.Now()
		}
	}
}

// fresh finds a server that has no condition yet.
func (e *Etcd) fresh(nodes []corev1.Node) bool {
	return slices.ContainsFunc(nodes, func(node corev1.Node) bool {
		return node.Labels[etcdLabel] == "true" && conditionOf(&node) == nil
	})
}

func (e *Etcd) release(ctx context.Context, client *kubernetes.Clientset, node *corev1.Node) error {
	address := node.Annotations[addressAnnotation]
	if err := e.remove(ctx, node.Name, address); err != nil {
		return err
	}
	kept := slices.DeleteFunc(slices.Clone(node.Finalizers), func(name string) bool { return name == etcdFinalizer })
	patch, _ := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": kept}})
	_, err := client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

func conditionOf(node *corev1.Node) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == etcdIsVoter {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

func (e *Etcd) setCondition(ctx context.Context, client *kubernetes.Clientset, node *corev1.Node) error {
	members, err := e.client.MemberList(ctx)
	if err != nil {
		return err
	}
	wanted := corev1.NodeCondition{
		Type: etcdIsVoter, Status: corev1.ConditionFalse, Reason: "NotAMember",
		Message: "Node is not a member of the etcd cluster",
	}
	for _, member := range members.Members {
		if member.Name != node.Annotations[memberAnnotation] {
			continue
		}
		if member.IsLearner {
			wanted.Reason, wanted.Message = "MemberIsLearner", "Node has not been promoted to voting member of the etcd cluster"
		} else {
			wanted.Status, wanted.Reason = corev1.ConditionTrue, "MemberNotLearner"
			wanted.Message = "Node is a voting member of the etcd cluster"
		}
	}
	held := conditionOf(node)
	now := metav1.Now()
	wanted.LastHeartbeatTime, wanted.LastTransitionTime = now, now
	if held != nil {
		if held.Status == wanted.Status && held.Reason == wanted.Reason && time.Since(held.LastHeartbeatTime.Time) < conditionHeartbeat {
			return nil
		}
		if held.Status == wanted.Status {
			wanted.LastTransitionTime = held.LastTransitionTime
		}
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []any{wanted}}})
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Nodes().PatchStatus(ctx, node.Name, patch)
	return err
}

// dropPasswords removes the passwords of nodes that are gone, so that a rebuilt node may come under the same name.
func dropPasswords(ctx context.Context, client *kubernetes.Clientset, gone string) {
	err := client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, passwordSecret(gone), metav1.DeleteOptions{})
	if err == nil {
		info("Removed node password of %s", gone)
	}
}

// watchNodes sees to what depends on which nodes there are: the passwords of those gone, the addresses in DNS.
func watchNodes(ctx context.Context, client *kubernetes.Clientset) {
	known := map[string]bool{}
	for range time.Tick(2 * time.Second) {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			continue
		}
		now := map[string]bool{}
		for _, node := range nodes.Items {
			now[node.Name] = true
		}
		var gone []string
		for name := range known {
			if !now[name] {
				dropPasswords(ctx, client, name)
				gone = append(gone, name)
			}
		}
		if err := updateNodeHosts(ctx, client, nodes.Items, gone); err != nil {
			problem("Unable to update coredns node hosts: %v", err)
			continue
		}
		known = now
	}
}
