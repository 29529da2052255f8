package main

import (
	"net"
	"os"
	"reflect"
	"time"

	coordination "k8s.io/api/coordination/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const leaseDuration = 30 * time.Second

// lead competes for the lease: one pod of all writes the addresses. A lease that its holder has not renewed for as long
// as it lasts, by this pod's own clock, is free; of two that take it the API server lets one.
func (c *Controller) lead(stop <-chan struct{}) {
	me := os.Getenv("POD_NAME")
	var renewed meta.MicroTime
	var seen, held time.Time
	for {
		now := meta.NowMicro()
		lease := &coordination.Lease{}
		err := c.api.get(lease, c.pod.Namespace, c.lock)
		if err == nil && lease.Spec.RenewTime != nil && !renewed.Equal(lease.Spec.RenewTime) {
			renewed, seen = *lease.Spec.RenewTime, time.Now()
		}
		mine := lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity == me
		if errors.IsNotFound(err) || (err == nil && (mine || time.Since(seen) > leaseDuration)) {
			seconds := int32(leaseDuration / time.Second)
			lease.Namespace, lease.Name = c.pod.Namespace, c.lock
			lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &me, &seconds, &now
			if !mine {
				lease.Spec.AcquireTime = &now
			}
			if err == nil {
				err = c.api.update(lease, lease)
			} else {
				err = c.api.create(lease, lease.Namespace)
			}
			if err == nil {
				held = now.Time
			}
		}
		leads := time.Since(held) < leaseDuration/2
		if leads && !c.leads.Swap(leads) {
			c.wake()
		}
		c.leads.Store(leads)
		select {
		case <-stop:
			return
		case <-time.After(leaseDuration / 4):
		}
	}
}

// report writes the load balancer's address into the Ingress, or takes it out of one that is not served.
func (c *Controller) report(ingress *networking.Ingress, served bool) {
	address := c.status.Load()
	if !c.leads.Load() || address == nil {
		return
	}
	wanted := []networking.IngressLoadBalancerIngress{}
	if served && *address != "" {
		if net.ParseIP(*address) != nil {
			wanted = append(wanted, networking.IngressLoadBalancerIngress{IP: *address})
		} else {
			wanted = append(wanted, networking.IngressLoadBalancerIngress{Hostname: *address})
		}
	}
	now := ingress.Status.LoadBalancer.Ingress
	if len(now) == len(wanted) && (len(now) == 0 || reflect.DeepEqual(now, wanted)) {
		return
	}
	written := ingress.DeepCopy()
	written.Status.LoadBalancer.Ingress = wanted
	if err := c.api.update(written, written, "status"); err != nil {
		info("error setting ingress status: %v", err)
		return
	}
	info("updated status for ing: %s %s", ingress.Namespace, ingress.Name)
}
