package main

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/coreos/go-iptables/iptables"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

const (
	policyChain = "KUBE-NETWORK-POLICY" // KUBE-: k3s-killall.sh knows by that what to remove
	policyPods  = "KUBE-POLICY-PODS"
	policyQueue = 100
)

// Policies is what the rules of a node are made from.
type Policies struct {
	node     string
	table    *iptables.IPTables
	pods     corelisters.PodLister
	policies networkinglisters.NetworkPolicyLister
}

// enforcePolicies does what K3s has kube-router for (K3s: pkg/agent/netpol/netpol.go), until ctx ends. The rules are
// ours and keep what kube-router's keep; upstream's controller gives the verdicts on what they send to it. Its own rules
// need nft_queue, which not every kernel has. It is told of no node, so that it makes none that match.
func (c *Config) enforcePolicies(ctx context.Context) error {
	client, err := clientFor(agentDir + "/k3scontroller.kubeconfig")
	if err != nil {
		return err
	}
	table, err := iptables.New()
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	pods, policies := factory.Core().V1().Pods(), factory.Networking().V1().NetworkPolicies()
	controller, err := networkpolicy.NewController(client, policies, factory.Core().V1().Namespaces(), pods, nil, nil, nil, nil,
		networkpolicy.Config{FailOpen: true, QueueID: policyQueue, NodeName: "none of the cluster's"})
	if err != nil {
		return err
	}
	if err := pods.Informer().SetTransform(ownAddresses); err != nil {
		return err
	}
	changed := make(chan struct{}, 1)
	change := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: change, UpdateFunc: func(_, now any) { change(now) }, DeleteFunc: change}
	for _, informer := range []cache.SharedIndexInformer{pods.Informer(), policies.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	c.ending.Go(func() {
		if err := controller.Run(ctx); err != nil {
			problem("Network policies are not enforced: %v", err)
		}
	})
	p := &Policies{node: c.NodeName, table: table, pods: pods.Lister(), policies: policies.Lister()}
	minute := time.Tick(time.Minute)
	for due := true; ctx.Err() == nil; {
		err := p.syncPods()
		if err == nil && due {
			err = p.ensureRules()
			due = err != nil
		}
		if err != nil {
			problem("Unable to sync network policies: %v", err)
		}
		select {
		case <-changed:
		case <-minute: // others may have removed the rules
			due = true
		case <-ctx.Done():
		}
	}
	if err := p.remove(); err != nil {
		warn("Unable to remove the rules of network policies: %v", err)
	}
	return nil
}

// ownAddresses takes off a pod the addresses that are its node's, or another pod's by now.
func ownAddresses(object any) (any, error) {
	if pod, is := object.(*corev1.Pod); is {
		pod.ManagedFields = nil
		if pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			pod.Status.PodIPs = nil
		}
	}
	return object, nil
}

// syncPods has in the set the addresses of this node's pods that a policy selects.
func (p *Policies) syncPods() error {
	if err := netlink.IpsetCreate(policyPods, "hash:ip", netlink.IpsetCreateOptions{Replace: true}); err != nil {
		return err
	}
	held, err := netlink.IpsetList(policyPods)
	if err != nil {
		return err
	}
	wanted, err := p.selected()
	if err != nil {
		return err
	}
	for _, entry := range held.Entries {
		if address := entry.IP.String(); wanted[address] {
			delete(wanted, address)
		} else if err := netlink.IpsetDel(policyPods, &netlink.IPSetEntry{IP: entry.IP}); err != nil {
			return err
		}
	}
	for address := range wanted {
		if err := netlink.IpsetAdd(policyPods, &netlink.IPSetEntry{IP: net.ParseIP(address)}); err != nil {
			return err
		}
	}
	return nil
}

func (p *Policies) selected() (map[string]bool, error) {
	addresses := map[string]bool{}
	policies, err := p.policies.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	for _, policy := range policies {
		selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
		if err != nil {
			return nil, err
		}
		pods, err := p.pods.Pods(policy.Namespace).List(selector)
		if err != nil {
			return nil, err
		}
		for _, pod := range pods {
			for _, address := range pod.Status.PodIPs {
				if pod.Spec.NodeName == p.node {
					addresses[address.IP] = true
				}
			}
		}
	}
	return addresses, nil
}

// policyHooks are what passes the node and what pods send to their own node. What the node itself sends to its pods
// passes neither: it is always let in, as with K3s (kube-router: pkg/controllers/netpol/pod.go, --src-type LOCAL).
var policyHooks = []string{"FORWARD", "INPUT"}

// ensureRules sends what opens a connection from or to the pods of the set to the controller, and lets it pass where
// nobody listens. Pings pass as with K3s (kube-router: pkg/utils, CommonICMPRules).
func (p *Policies) ensureRules() error {
	if exists, err := p.table.ChainExists("mangle", policyChain); err != nil {
		return err
	} else if !exists {
		if err := p.table.NewChain("mangle", policyChain); err != nil {
			return err
		}
	}
	queue := []string{"-j", "NFQUEUE", "--queue-num", strconv.Itoa(policyQueue), "--queue-bypass"}
	for _, rule := range [][]string{
		{"-m", "conntrack", "!", "--ctstate", "NEW", "-j", "RETURN"},
		{"-p", "icmp", "-m", "icmp", "--icmp-type", "echo-request", "-j", "RETURN"},
		append([]string{"-m", "set", "--match-set", policyPods, "src"}, queue...),
		append([]string{"-m", "set", "--match-set", policyPods, "dst"}, queue...),
	} {
		if err := p.table.AppendUnique("mangle", policyChain, rule...); err != nil {
			return err
		}
	}
	for _, hook := range policyHooks {
		if err := p.table.AppendUnique("mangle", hook, "-j", policyChain); err != nil {
			return err
		}
	}
	return nil
}

func (p *Policies) remove() error {
	for _, hook := range policyHooks {
		if err := p.table.DeleteIfExists("mangle", hook, "-j", policyChain); err != nil {
			return err
		}
	}
	if err := p.table.ClearAndDeleteChain("mangle", policyChain); err != nil {
		return err
	}
	return netlink.IpsetDestroy(policyPods)
}
