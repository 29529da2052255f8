package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/flannel-io/flannel/pkg/backend"
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"github.com/flannel-io/flannel/pkg/trafficmngr/iptables"

	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"
)

const subnetFile = "/run/flannel/subnet.env"

// flannel runs upstream's packages until the process ends, and writes the CNI configuration once the subnet is known.
func (c *Config) flannel(ctx context.Context, cluster *Critical) {
	for ctx.Err() == nil {
		if err := c.runFlannel(ctx, cluster); err != nil {
			problem("flannel exited: %v", err)
		}
		time.Sleep(2 * time.Second)
	}
}

// external is the NIC of flannel-iface, else that of the default route: flannel does not follow node-ip.
func (c *Config) external() (*backend.ExternalInterface, error) {
	var nic *net.Interface
	var err error
	if name := c.text("flannel-iface"); name != "" {
		nic, err = net.InterfaceByName(name)
	} else {
		nic, err = defaultInterface()
	}
	if err != nil {
		return nil, fmt.Errorf("unable to find interface: %w", err)
	}
	address, err := addressOf(nic)
	if err != nil {
		return nil, err
	}
	parsed := net.ParseIP(address).To4()
	info("The interface %s with ipv4 address %s will be used by flannel", nic.Name, address)
	return &backend.ExternalInterface{Iface: nic, IfaceName: nic.Name, IfaceAddr: parsed, ExtAddr: parsed}, nil
}

func (c *Config) runFlannel(ctx context.Context, cluster *Critical) error {
	file := agentDir + "/etc/flannel/net-conf.json"
	content, err := json.Marshal(map[string]any{
		"Network": cluster.ClusterCIDR, "EnableIPv4": true, "EnableIPv6": false,
		"Backend": map[string]any{"Type": cluster.FlannelBackend},
	})
	if err != nil {
		return err
	}
	if err := writeFile(file, content, 0o600); err != nil {
		return err
	}
	external, err := c.external()
	if err != nil {
		return err
	}
	if err := os.Setenv("NODE_NAME", c.NodeName); err != nil {
		return err
	}
	credentials := agentDir + "/k3scontroller.kubeconfig"
	subnets, err := kube.NewSubnetManager(ctx, "", credentials, "flannel.alpha.coreos.com", file, true)
	if err != nil {
		return err
	}
	network, err := subnets.GetNetworkConfig(ctx)
	if err != nil {
		return err
	}
	flavour, err := backend.NewManager(ctx, subnets, external).GetBackend(network.BackendType)
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	var running backend.Network
	for tries := 0; ; tries++ { // until the controller-manager has given the node its CIDR
		if running, err = flavour.RegisterNetwork(ctx, &group, network); err == nil {
			break
		}
		if ctx.Err() != nil || tries > 120 {
			return err
		}
		time.Sleep(time.Second)
	}
	rules := &iptables.IPTablesManager{}
	if err := rules.Init(ctx); err != nil {
		return err
	}
	lease := running.Lease()
	rules.SetupAndEnsureForwardRules(ctx, network.Network, network.IPv6Network, 50)
	err = rules.SetupAndEnsureMasqRules(ctx, network.Network, ip.IP4Net{}, ip.IP4Net{}, network.IPv6Network, ip.IP6Net{},
		ip.IP6Net{}, lease, 60, false)
	if err != nil {
		return err
	}
	if err := subnets.HandleSubnetFile(subnetFile, network, true, lease.Subnet, lease.IPv6Subnet, running.MTU()); err != nil {
		return err
	}
	if err := writeCNI(cluster.ClusterCIDR, lease.Subnet.String(), running.MTU()); err != nil {
		return err
	}
	info("Running flannel backend.")
	running.Run(ctx)
	return nil
}

// writeCNI says to the bridge plugin what flannel's own plugin, which is no Go module, would have said to it.
func writeCNI(cluster, subnet string, mtu int) error {
	content, err := json.MarshalIndent(map[string]any{
		"name": "cbr0", "cniVersion": "1.0.0",
		"plugins": []any{
			map[string]any{
				"type": "bridge", "bridge": "cni0", "mtu": mtu, "isGateway": true, "isDefaultGateway": true,
				"hairpinMode": true, "forceAddress": true, "ipMasq": false,
				"ipam": map[string]any{
					"type": "host-local", "ranges": []any{[]any{map[string]string{"subnet": subnet}}},
					"routes": []any{map[string]string{"dst": cluster}},
				},
			},
			map[string]any{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}},
		},
	}, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(cniConfigDir+"/10-flannel.conflist", append(content, '\n'), 0o600)
}
