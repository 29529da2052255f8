// Further of what the scripts rely on in K3s, as test/lab/tests/02-contract.test.mts: what waits long, or starts servers of
// its own. It changes with K3s's version, or with the lab's double of it.
import * as assert from 'uvu/assert'
import { exec, labUp } from '../nodes.mts'
import { converge, everyNode, kubectl, masters, nodesThatAre, on, until, workers } from '../tests/cluster.mts'
import { test } from '../tests/timed.mts'

await labUp()
await converge()

const [first, second] = masters as [string, string]
const scratch = workers.at(-1)!
const data = '/var/lib/rancher/k3s'
const serverToken = (): Promise<string> => on(first, `cat ${data}/server/token`)

test('a manifest is applied, and again when it changes (docs: installation/packaged-components.md; k3s: pkg/deploy)', async () => {
  const file = `${data}/server/manifests/contract.yaml`
  const write = (value: string): Promise<string> =>
    on(first, `cat > ${file} <<'E'\n${JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'contract', namespace: 'default' }, data: { value } })}\nE`)
  const holds = (value: string) => async (): Promise<boolean> =>
    (await kubectl('get', 'configmap', 'contract', '-o', 'jsonpath={.data.value}')) === value
  try {
    await write('one')
    await until('the manifest is applied', 60, holds('one'))
    await write('two')
    await until('the changed manifest is applied', 60, holds('two'))
  } finally {
    await on(first, `rm -f ${file}`)
    await kubectl('delete', 'configmap', 'contract', '--ignore-not-found')
  }
})

test('a server that dies comes back by itself, with its components (k3s: install.sh, Restart=always)', async () => {
  const before = await on(second, 'systemctl show --property MainPID --value k3s')
  await on(second, `kill -KILL ${before}`)
  await until(`${second} is back`, 120, async () =>
    (await on(second, 'systemctl show --property MainPID --value k3s')) !== before &&
    (await on(second, 'k3s kubectl get --raw /readyz')) === 'ok')
  await until('all vote and are Ready', 60, async () =>
    (await nodesThatAre('EtcdIsVoter')).length === masters.length && (await nodesThatAre('Ready')).length === everyNode.length)
})

/** Runs a script on a worker where K3s's folders are empty, and, with `alone`, with no network but its own. */
const aside = (script: string, { alone = false, input = '' } = {}): ReturnType<typeof exec> => exec(scratch, `
  umask 077; cat > /run/contract.token
  unshare --mount ${alone ? '--net' : ''} --propagation private bash -c '
    set -eu
    mkdir -p ${data}/server /etc/rancher
    for folder in ${data}/server ${data}/agent /etc/rancher; do mount -t tmpfs contract $folder; done
    ${alone ? 'ip link set lo up; ip link add nic0 type veth peer name nic1; ip link set nic1 up; ip address add 192.168.77.1/24 dev nic0; ip link set nic0 up; ip route add default via 192.168.77.2' : ''}
    ${script}'
  code=$?; rm -f /run/contract.token; exit $code`, { input })

test('a server whose critical values differ is refused (docs: cli/server.md; k3s: pkg/cluster/bootstrap.go)', async () => {
  const server = await on(first, `sed -n 's/^node-ip: *//p' /etc/rancher/k3s/config.yaml | tr -d '"'`)
  const join = `timeout 60 k3s server --disable-agent --node-name contract --server https://${server}:6443 --token-file /run/contract.token`
  const differs = await aside(`${join} --cluster-cidr 10.99.0.0/16`, { input: await serverToken() })
  assert.is.not(differs.exitCode, 0)
  assert.match(differs.stderr + differs.stdout, 'critical configuration value mismatch')
  const stranger = await aside(join, { input: `K10${'0'.repeat(64)}::server:${'0'.repeat(32)}` })
  assert.is.not(stranger.exitCode, 0)
  assert.match(stranger.stderr + stranger.stdout, 'token CA hash does not match the Cluster CA certificate hash')
})

test('disable keeps an addon away, or removes it; .skip has it left alone (docs: installation/packaged-components.md; k3s: pkg/deploy)', async () => {
  const { stdout, stderr, exitCode } = await aside(`
    flags="--disable-agent --cluster-init --node-name contract --node-ip 192.168.77.1 --token-file /run/contract.token"
    kc() { k3s kubectl --kubeconfig /etc/rancher/k3s/k3s.yaml --request-timeout 5s "$@"; }
    up() { k3s server $flags "$@" > ${data}/agent/log 2>&1 & pid=$!; }
    until_so() { for second in $(seq 90); do "$@" > /dev/null 2>&1 && return; sleep 1; done; echo "not so: $*"; tail -5 ${data}/agent/log; kill $pid; exit 1; }
    has() { kc -n kube-system get "$1"; }
    has_not() { kc get --raw /readyz && ! kc -n kube-system get "$1" && [[ $(kc -n kube-system get "$1" 2>&1) == *NotFound* ]]; }
    down() { kill $pid; wait $pid || true; }
    manifests=${data}/server/manifests
    mkdir -p $manifests; touch $manifests/local-storage.yaml.skip
    printf "apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: last, namespace: kube-system}\\n" > $manifests/zz-contract.yaml
    up --disable metrics-server
    until_so has configmap/last
    until_so has deployment/coredns
    has_not deployment/metrics-server; has_not deployment/local-path-provisioner
    test ! -e $manifests/metrics-server/metrics-server-deployment.yaml
    echo first: $(cd $manifests && ls)
    down
    up --disable metrics-server --disable coredns
    until_so has_not deployment/coredns
    until_so test ! -e $manifests/coredns.yaml
    has configmap/last
    down`, { alone: true, input: '0123456789abcdef0123456789abcdef' })
  assert.is(exitCode, 0, stderr + stdout)
  assert.match(stdout, /first: .*\bcoredns\.yaml\b.*\blocal-storage\.yaml local-storage\.yaml\.skip\b/)
})

test('a snapshot restores what was, once until a normal start (docs: datastore/backup-restore.md; k3s: pkg/etcd/etcd.go, Reset)', async () => {
  const { stdout, stderr, exitCode } = await aside(`
    flags="--disable-agent --cluster-init --node-name contract --node-ip 192.168.77.1 --token-file /run/contract.token"
    kc() { k3s kubectl --kubeconfig /etc/rancher/k3s/k3s.yaml --request-timeout 5s "$@"; }
    up() { k3s server $flags > ${data}/agent/log 2>&1 & pid=$!; for second in $(seq 90); do kc get --raw /readyz > /dev/null 2>&1 && return; sleep 1; done; tail -5 ${data}/agent/log; kill $pid; exit 1; }
    down() { kill $pid; wait $pid || true; }
    up
    kc create configmap before
    k3s etcd-snapshot save --name contract > /dev/null 2>&1
    kc create configmap after
    down
    k3s server $flags --cluster-reset --cluster-reset-restore-path=$(ls ${data}/server/db/snapshots/contract-*) 2>&1 | tail -1
    test -e ${data}/server/db/reset-flag
    k3s server $flags --cluster-reset 2>&1 | tail -1
    up
    kc get configmap -o name
    test ! -e ${data}/server/db/reset-flag
    down`, { alone: true, input: '0123456789abcdef0123456789abcdef' })
  assert.is(exitCode, 0, stderr + stdout)
  assert.match(stdout, 'restart without --cluster-reset flag now')
  assert.match(stdout, /first manually delete the file at|must first manually delete/)
  assert.match(stdout, 'configmap/before')
  assert.not.match(stdout.split('manually delete')[1] ?? '', 'configmap/after')
})

test.run()
