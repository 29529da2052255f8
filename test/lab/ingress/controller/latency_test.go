package main

import (
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
)

func TestLatencies(t *testing.T) {
	one := peer{"apps-shop-shop.test-web-http", "10.42.0.7:8080", "web", "shop", "apps", "web-1"}
	counted := &latencies{times: map[answers]*histogram{}}
	counted.follow([]peer{one})
	for _, message := range []string{
		`<190>Nov 26 19:00:00 nginx: {"upstreamAddress":"10.42.0.7:8080", "upstreamResponseTime":"0.004", "proxyHost":"apps-shop-shop.test-web-http", "upstreamStatus": "200"}`,
		`<190>Nov 26 19:00:01 nginx: {"upstreamAddress":"10.42.1.2:8080, 10.42.0.7:8080", "upstreamResponseTime":"2.001, 0.450", "proxyHost":"apps-shop-shop.test-web-http", "upstreamStatus": "502, 200"}`,
		`<190>Nov 26 19:00:02 nginx: {"upstreamAddress":"unix:/var/lib/nginx/nothing.sock", "upstreamResponseTime":"0.000", "proxyHost":"apps-shop-shop.test-web-http", "upstreamStatus": "502"}`,
		`<190>Nov 26 19:00:03 nginx: {"upstreamAddress":"-", "upstreamResponseTime":"-", "proxyHost":"-", "upstreamStatus": "-"}`,
		`nothing`,
	} {
		counted.count(message)
	}
	text := func() string {
		var out strings.Builder
		counted.write(&out, "nginx")
		return out.String()
	}
	const labels = `class="nginx",code="200",pod_name="web-1",resource_name="shop",resource_namespace="apps",resource_type="ingress",` +
		`server="10.42.0.7:8080",service="web",upstream="apps-shop-shop.test-web-http"`
	expect(t, text(), "_ms histogram\n", "_bucket{"+labels+`,le="3"} 0`, "_bucket{"+labels+`,le="4"} 1`, "_bucket{"+labels+`,le="500"} 2`,
		"_bucket{"+labels+`,le="+Inf"} 2`, "_sum{"+labels+"} 454", "_count{"+labels+"} 2", "!502")

	counted.follow(nil)
	if text() != "" {
		t.Errorf("times of a pod that is gone: %s", text())
	}
}

func TestPeers(t *testing.T) {
	known := oneService()
	held := known.slices("")
	held[0].Endpoints[0].TargetRef = &core.ObjectReference{Name: "web-2"}
	known.slices = func(string) []*discovery.EndpointSlice { return held }
	one := &site{ingress: ingressOf("shop", "shop.test", "web", nil), hosts: []string{"shop.test"}}
	known.ingressConfig(one)
	namespace := one.ingress.Namespace
	upstream := namespace + "-shop-shop.test-web-80"
	wanted := []peer{
		{upstream, "10.42.0.7:8080", "web", "shop", namespace, ""},
		{upstream, "10.42.1.2:8080", "web", "shop", namespace, "web-2"},
	}
	if !slices.Equal(one.peers, wanted) {
		t.Errorf("%v", one.peers)
	}
}
