package main

import (
	"context"
	"encoding/json"
	"time"

	authorization "k8s.io/api/authorization/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

var scheme = runtime.NewScheme()

func init() {
	for _, add := range []func(*runtime.Scheme) error{
		core.AddToScheme, networking.AddToScheme, discovery.AddToScheme, coordination.AddToScheme, authorization.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
}

// API speaks to the few API groups that are used. The clients that know every group would make the image three times as
// large.
type API map[schema.GroupVersion]rest.Interface

func newAPI(config *rest.Config) (API, error) {
	api := API{}
	for _, group := range []schema.GroupVersion{
		core.SchemeGroupVersion, networking.SchemeGroupVersion, discovery.SchemeGroupVersion,
		coordination.SchemeGroupVersion, authorization.SchemeGroupVersion,
	} {
		own := rest.CopyConfig(config)
		own.GroupVersion, own.APIPath = &group, "/apis"
		if group.Group == "" {
			own.APIPath = "/api"
		}
		own.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
		client, err := rest.RESTClientFor(own)
		if err != nil {
			return nil, err
		}
		api[group] = client
	}
	return api, nil
}

// of is the client for a kind, and what the API calls it.
func (a API) of(object runtime.Object) (rest.Interface, string) {
	switch object.(type) {
	case *core.Pod:
		return a[core.SchemeGroupVersion], "pods"
	case *core.Secret:
		return a[core.SchemeGroupVersion], "secrets"
	case *core.ConfigMap:
		return a[core.SchemeGroupVersion], "configmaps"
	case *core.Service:
		return a[core.SchemeGroupVersion], "services"
	case *core.Event:
		return a[core.SchemeGroupVersion], "events"
	case *networking.Ingress:
		return a[networking.SchemeGroupVersion], "ingresses"
	case *networking.IngressClass:
		return a[networking.SchemeGroupVersion], "ingressclasses"
	case *discovery.EndpointSlice:
		return a[discovery.SchemeGroupVersion], "endpointslices"
	case *coordination.Lease:
		return a[coordination.SchemeGroupVersion], "leases"
	case *authorization.SelfSubjectAccessReview:
		return a[authorization.SchemeGroupVersion], "selfsubjectaccessreviews"
	}
	panic("no client for this kind")
}

func soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 10*time.Second)
}

func (a API) get(object runtime.Object, namespace, name string) error {
	ctx, cancel := soon()
	defer cancel()
	client, resource := a.of(object)
	return client.Get().NamespaceIfScoped(namespace, namespace != "").Resource(resource).Name(name).Do(ctx).Into(object)
}

func (a API) create(object runtime.Object, namespace string) error {
	ctx, cancel := soon()
	defer cancel()
	client, resource := a.of(object)
	return client.Post().NamespaceIfScoped(namespace, namespace != "").Resource(resource).Body(object).Do(ctx).Into(object)
}

func (a API) update(object runtime.Object, of meta.Object, subresources ...string) error {
	ctx, cancel := soon()
	defer cancel()
	client, resource := a.of(object)
	return client.Put().Namespace(of.GetNamespace()).Resource(resource).Name(of.GetName()).SubResource(subresources...).
		Body(object).Do(ctx).Into(object)
}

func (a API) serverVersion() (string, error) {
	ctx, cancel := soon()
	defer cancel()
	var found version.Info
	answer := a[core.SchemeGroupVersion].Get().AbsPath("/version").Do(ctx)
	content, err := answer.Raw()
	if err == nil {
		err = json.Unmarshal(content, &found)
	}
	return found.GitVersion, err
}

// follow keeps a copy of all objects of a kind, through outages of the API server.
func (a API) follow(object runtime.Object, namespace string, only fields.Selector, indexers cache.Indexers) cache.SharedIndexInformer {
	client, resource := a.of(object)
	return cache.NewSharedIndexInformer(cache.NewListWatchFromClient(client, resource, namespace, only), object, 0, indexers)
}

// sink is where events are written.
type sink struct{ API }

func (s sink) Create(event *core.Event) (*core.Event, error) {
	return event, s.create(event, event.Namespace)
}

func (s sink) Update(event *core.Event) (*core.Event, error) { return event, s.update(event, event) }

func (s sink) Patch(event *core.Event, patch []byte) (*core.Event, error) {
	ctx, cancel := soon()
	defer cancel()
	client, resource := s.of(event)
	patched := &core.Event{}
	err := client.Patch(types.StrategicMergePatchType).Namespace(event.Namespace).Resource(resource).Name(event.Name).
		Body(patch).Do(ctx).Into(patched)
	return patched, err
}
