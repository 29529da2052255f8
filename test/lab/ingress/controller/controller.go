package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
)

const (
	secretsDir         = etc + "/secrets"
	defaultCertificate = secretsDir + "/default"
)

// Controller keeps nginx as the API server says. While the API server is away, nginx serves on with what is known.
type Controller struct {
	options
	api    API
	events record.EventRecorder
	pod    *core.Pod
	nginx  *Nginx
	times  *latencies

	ingresses, services, slices, secrets, configMaps cache.Indexer

	changed chan struct{}
	ready   atomic.Bool
	served  atomic.Int32
	leads   atomic.Bool
	status  atomic.Pointer[string]

	settings      settings
	seenConfigMap string
	seenDefault   string
	told          map[string]string
	known         map[string]string
}

func newController(parsed options, api API, events record.EventRecorder, pod *core.Pod) *Controller {
	return &Controller{
		options: parsed, api: api, events: events, pod: pod, nginx: newNginx(), times: &latencies{times: map[answers]*histogram{}},
		changed: make(chan struct{}, 1), told: map[string]string{}, known: map[string]string{},
	}
}

func (c *Controller) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// byService is the index of the slices of a Service.
const byService = "service"

// watch begins to follow what a configuration is made from, and tells once all of it is known.
func (c *Controller) watch(stop <-chan struct{}) bool {
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { c.wake() }, UpdateFunc: func(any, any) { c.wake() }, DeleteFunc: func(any) { c.wake() },
	}
	var synced []cache.InformerSynced
	follow := func(informer cache.SharedIndexInformer) cache.Indexer {
		if _, err := informer.AddEventHandler(handler); err != nil {
			fatal("%v", err)
		}
		go informer.Run(stop)
		synced = append(synced, informer.HasSynced)
		return informer.GetIndexer()
	}
	namespace, name, _ := splitName(c.configMap)
	certificates := fields.OneTermEqualSelector("type", string(core.SecretTypeTLS))
	c.configMaps = follow(c.api.follow(&core.ConfigMap{}, namespace, fields.OneTermEqualSelector("metadata.name", name), nil))
	c.secrets = follow(c.api.follow(&core.Secret{}, "", certificates, nil))
	c.services = follow(c.api.follow(&core.Service{}, "", fields.Everything(), nil))
	c.slices = follow(c.api.follow(&discovery.EndpointSlice{}, "", fields.Everything(), cache.Indexers{
		byService: func(object any) ([]string, error) {
			slice := object.(*discovery.EndpointSlice)
			return []string{slice.Namespace + "/" + slice.Labels[discovery.LabelServiceName]}, nil
		},
	}))
	c.ingresses = follow(c.api.follow(&networking.Ingress{}, "", fields.Everything(), nil))
	return cache.WaitForCacheSync(stop, synced...)
}

// held is the object as last told, or nil.
func held[T any](store cache.Indexer, key string) (object T) {
	if found, there, err := store.GetByKey(key); err == nil && there {
		object = found.(T)
	}
	return object
}

// run puts each state into force, one at a time. What changes meanwhile is the next state.
func (c *Controller) run(stop <-chan struct{}) {
	for {
		tell := c.reconcile()
		if !c.ready.Swap(true) {
			info("Ready: the configuration has been loaded")
		}
		tell()
		select {
		case <-stop:
			return
		case <-c.changed:
		}
		// A rollout changes many objects at once.
		time.Sleep(100 * time.Millisecond)
	}
}

// takeConfigMap makes the ConfigMap the settings, and tells whether it is another than before.
func (c *Controller) takeConfigMap(configMap *core.ConfigMap) bool {
	if configMap == nil || configMap.ResourceVersion == c.seenConfigMap {
		return false
	}
	c.seenConfigMap = configMap.ResourceVersion
	parsed, wrong, unknown := parseSettings(configMap.Data)
	say := func(what string) {
		failure("ConfigMap %s: %s", keyOf(configMap), what)
		c.events.Event(configMap, core.EventTypeWarning, "InvalidValue", fmt.Sprintf("ConfigMap %s: %s", keyOf(configMap), what))
	}
	for _, what := range wrong {
		say(what)
	}
	for _, key := range unknown {
		say(fmt.Sprintf("the lab's stand-in does not know the key '%s'", key))
	}
	if len(unknown) > 0 {
		c.events.Eventf(configMap, core.EventTypeWarning, "UpdatedWithError", "ConfigMap %s was not applied", keyOf(configMap))
		return false
	}
	c.settings = parsed
	c.status.Store(&parsed.statusAddress)
	if !c.ready.Load() {
		return true
	}
	if len(wrong) > 0 {
		c.events.Eventf(configMap, core.EventTypeWarning, "UpdatedWithError",
			"ConfigMap %s updated with errors. Ignoring invalid values", keyOf(configMap))
	} else {
		c.events.Eventf(configMap, core.EventTypeNormal, "Updated", "ConfigMap %s updated without error", keyOf(configMap))
	}
	return true
}

func checkCertificate(secret *core.Secret) error {
	if secret.Type != core.SecretTypeTLS {
		return fmt.Errorf("TLS Secret must be of the type %s", core.SecretTypeTLS)
	}
	if _, err := tls.X509KeyPair(secret.Data[core.TLSCertKey], secret.Data[core.TLSPrivateKeyKey]); err != nil {
		return fmt.Errorf("failed to validate TLS cert and key: %w", err)
	}
	return nil
}

// takeDefaultCertificate keeps what it has where the secret is gone or is none.
func (c *Controller) takeDefaultCertificate() bool {
	if c.defaultSecret == "" {
		return false
	}
	secret, version := held[*core.Secret](c.secrets, c.defaultSecret), "gone"
	if secret != nil {
		version = secret.ResourceVersion
	}
	if version == c.seenDefault {
		return false
	}
	first := c.seenDefault == ""
	c.seenDefault = version
	if secret == nil {
		warn("A special Secret %s was removed. Retaining the Secret.", c.defaultSecret)
		c.events.Eventf(c.pod, core.EventTypeWarning, "SecretDeleted",
			"A special secret [%s] was deleted.  Retaining the secret on this pod but this will affect new pods.", c.defaultSecret)
		return false
	}
	if err := checkCertificate(secret); err != nil {
		failure("Couldn't validate the special Secret %s: %v", c.defaultSecret, err)
		c.events.Eventf(c.pod, core.EventTypeWarning, "Rejected",
			"the special Secret %s was rejected, using the previous version: %v", c.defaultSecret, err)
		return false
	}
	writeSecret(defaultCertificate, secret)
	if !first {
		c.events.Eventf(c.pod, core.EventTypeNormal, "SecretUpdated", "the special Secret %s was updated", c.defaultSecret)
	}
	return !first
}

// world is what the watches know now. Certificates that are asked for are written.
func (c *Controller) world(rewritten *bool) world {
	known := world{settings: c.settings}
	if c.defaultSecret != "" {
		known.defaultCertificate = defaultCertificate
	}
	known.service = func(key string) *core.Service { return held[*core.Service](c.services, key) }
	known.slices = func(key string) (found []*discovery.EndpointSlice) {
		objects, _ := c.slices.ByIndex(byService, key)
		for _, object := range objects {
			found = append(found, object.(*discovery.EndpointSlice))
		}
		return found
	}
	known.certificate = func(key string) (string, error) {
		secret := held[*core.Secret](c.secrets, key)
		if secret == nil {
			return "", errors.New("secret doesn't exist or of an unsupported type")
		}
		if err := checkCertificate(secret); err != nil {
			return "", err
		}
		path := filepath.Join(secretsDir, strings.ReplaceAll(key, "/", "-"))
		*rewritten = writeSecret(path, secret) || *rewritten
		return path, nil
	}
	return known
}

func (c *Controller) mine(ingress *networking.Ingress) bool {
	class := ingress.Annotations[classAnnotation]
	if class == "" && ingress.Spec.IngressClassName != nil {
		class = *ingress.Spec.IngressClassName
	}
	return class == c.class
}

// identity changes with what is asked of an Ingress, and not with its status.
func identity(ingress *networking.Ingress) string {
	return fmt.Sprint(ingress.UID, ingress.Generation, ingress.Annotations)
}

func fileOf(ingress *networking.Ingress) string {
	return filepath.Join(etc, "conf.d", ingress.Namespace+"-"+ingress.Name+".conf")
}

// reconcile makes nginx serve what the API server says. A file that nginx refuses is left as it was, and the others
// go into force. What it gives back tells the API server what became of it.
func (c *Controller) reconcile() (tell func()) {
	newSettings := c.takeConfigMap(held[*core.ConfigMap](c.configMaps, c.configMap))
	changed := c.takeDefaultCertificate()
	known := c.world(&changed)

	rejected := map[string]error{}
	objects := map[string]*networking.Ingress{}
	for _, object := range c.ingresses.List() {
		ingress := object.(*networking.Ingress)
		if !c.mine(ingress) {
			continue
		}
		objects[keyOf(ingress)] = ingress
		if err := validate(ingress); err != nil {
			rejected[keyOf(ingress)] = err
		} else {
			known.ingresses = append(known.ingresses, ingress)
		}
	}

	other := changed
	note := func(path string, content []byte) (bool, error) {
		written, err := put(path, content)
		changed = changed || written
		return written, err
	}
	if _, err := note(mainFile, known.mainConfig()); err != nil {
		warn("Main config validation failed: %v", err)
	}
	_, problem := note(defaultFile, known.defaultConfig())
	other = other || changed

	wanted := map[string]bool{filepath.Base(defaultFile): true}
	outcomes := map[string]outcome{}
	var peers []peer
	for _, one := range sites(known.ingresses) {
		key := keyOf(one.ingress)
		if len(one.hosts) == 0 {
			rejected[key] = errors.New("All hosts are taken by other resources")
			continue
		}
		path := fileOf(one.ingress)
		other = other || newSettings || c.known[key] != identity(one.ingress)
		c.known[key] = identity(one.ingress)
		written, err := note(path, known.ingressConfig(one))
		peers = append(peers, one.peers...)
		if written {
			for _, what := range one.notes {
				warn("%s", what)
			}
		}
		if err != nil {
			err = fmt.Errorf("error validating Ingress config %s: %w", strings.TrimSuffix(filepath.Base(path), ".conf"), err)
		} else if problem != nil {
			err = fmt.Errorf("error syncing default server config: error writing default server config: %w", problem)
		}
		wanted[filepath.Base(path)] = true
		outcomes[key] = added(key, one.warnings, err)
	}
	c.served.Store(int32(len(outcomes)))
	c.times.follow(peers)
	files, _ := os.ReadDir(filepath.Dir(defaultFile))
	for _, file := range files {
		if !wanted[file.Name()] {
			os.Remove(filepath.Join(filepath.Dir(defaultFile), file.Name()))
			changed, other = true, true
		}
	}

	if changed {
		reason := "endpoints"
		if other {
			reason = "other"
		}
		if err := c.nginx.reload(reason); err != nil {
			failure("%v", err)
			for key := range outcomes {
				outcomes[key] = added(key, nil, err)
			}
		}
	}
	for key, err := range rejected {
		outcomes[key] = outcome{core.EventTypeWarning, "Rejected", err.Error()}
	}
	all := newSettings && c.ready.Load()
	return func() { c.tell(objects, outcomes, all) }
}

// outcome is the event that tells what became of an Ingress.
type outcome struct{ kind, reason, message string }

func added(key string, warnings []string, err error) outcome {
	message := fmt.Sprintf("Configuration for %s was added or updated ", key)
	switch {
	case err != nil:
		return outcome{core.EventTypeWarning, "AddedOrUpdatedWithError", message + "; but was not applied: " + err.Error()}
	case len(warnings) > 0:
		return outcome{core.EventTypeWarning, "AddedOrUpdatedWithWarning", message + "with warning(s): " + strings.Join(warnings, "; ")}
	}
	return outcome{core.EventTypeNormal, "AddedOrUpdated", message}
}

// tell writes an event where the Ingress, the settings or the outcome is new, and the address where it is served.
func (c *Controller) tell(objects map[string]*networking.Ingress, outcomes map[string]outcome, all bool) {
	for _, memory := range []map[string]string{c.told, c.known} {
		maps.DeleteFunc(memory, func(key, _ string) bool { return objects[key] == nil })
	}
	for _, key := range slices.Sorted(maps.Keys(outcomes)) {
		ingress, came := objects[key], outcomes[key]
		now := fmt.Sprint(identity(ingress), came)
		if c.told[key] != now || (all && came.reason != "Rejected") {
			c.events.Event(ingress, came.kind, came.reason, came.message)
		}
		c.told[key] = now
		c.report(ingress, came.reason != "Rejected")
	}
}
