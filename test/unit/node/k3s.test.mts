import { existsSync, mkdtempSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { Secret } from '../../../lib/input/secrets.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import {
  agentConfig, askWhetherRuns, copyByHand, givesPodsNameservers, hasConfig, hasRelease, hasSoundKubelet, hasToken, hasUnit,
  isStarted, removeOldNetwork, removeOldNetworkByHand, runsWhatIsConfigured, serverConfig, unitOf
} from '../../../lib/node/k3s.mts'
import type { NodeStep } from '../../../lib/run/step.mts'
import { answeringSsh } from '../../support/answering-ssh.mts'
import { hostOf } from '../../support/hosts.mts'
import { beat, withKubelet, type Kubelet } from '../../support/kubelet.mts'
import { commands, onNode } from '../../support/node-shell.mts'

const host = hostOf('k3s-master-01', { role: 'server', address: '10.0.0.100' })
const second = hostOf('k3s-master-02', { role: 'server', address: '10.0.0.101' })
const agent = hostOf('k3s-worker-01', { address: '10.0.0.110' })
const admin = hostOf('k3s-worker-02', { address: '10.0.0.111', user: 'admin' })
const file = { file: '/nowhere', sha256: '0' }

const says = (runs: string, wanted: string): string => {
  const k3s = join(commands({ k3s: `echo 'k3s version ${runs} (abcdef)'\necho go version go1.26` }), 'k3s')
  const settings = defaultSettings()
  settings.k3s.version = wanted
  const [step] = hasRelease(host, { settings, ssh: answeringSsh(() => '') }, { k3s: file, images: file })
  return onNode((step!.check as string).replaceAll('/usr/local/bin/k3s', k3s)).stdout
}

test('a version may stay, take a patch, or go up one minor', () => {
  assert.is(says('v1.36.5+k3s1', 'v1.36.5+k3s1'), '')
  assert.is(says('v1.36.5+k3s1', 'v1.36.10+k3s1'), '')
  assert.is(says('v1.36.5+k3s1', 'v1.36.5+k3s2'), '')
  assert.is(says('v1.36.5+k3s1', 'v1.37.1+k3s1'), '')
})

test('a version may neither go back nor skip a minor', () => {
  assert.is(says('v1.36.5+k3s1', 'v1.36.3+k3s1'), 'is v1.36.5+k3s1, which is newer')
  assert.is(says('v1.36.5+k3s2', 'v1.36.5+k3s1'), 'is v1.36.5+k3s2, which is newer')
  assert.is(says('v1.36.10+k3s1', 'v1.36.9+k3s1'), 'is v1.36.10+k3s1, which is newer')
  assert.is(says('v1.35.6+k3s1', 'v1.37.1+k3s1'), 'is v1.35.6+k3s1, and no minor version may be skipped')
})

test('where no K3s is installed yet, or one that does not run, any version may come', () => {
  const settings = defaultSettings()
  const [step] = hasRelease(host, { settings, ssh: answeringSsh(() => '') }, { k3s: file, images: file })
  for (const k3s of ['/nowhere/k3s', join(commands({ k3s: 'exit 1' }), 'k3s')])
    assert.equal(onNode((step!.check as string).replaceAll('/usr/local/bin/k3s', k3s)), { stdout: '', stderr: '', code: 0 })
})

const hello = { file: '/cache/k3s', sha256: 'b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9' }

// A node whose K3s is active, or is not. Its binary is in a folder of the test.
const release = (state: string) => {
  const folder = mkdtempSync(join(tmpdir(), 'keybuzz-k3s-'))
  const path = [commands({ systemctl: `case $1 in is-active) echo ${state}; [[ ${state} == active ]];; show) echo @1000;; esac` })]
  const onIt = (shell: string) => onNode(shell.replaceAll('/usr/local/bin/k3s', `${folder}/k3s`).replaceAll('/etc/rancher/k3s', folder), { path })
  const done: string[] = []
  const ssh = answeringSsh((script) => {
    done.push(script.split(' ').slice(0, 4).join(' '))
    if (script.startsWith('push')) writeFileSync(join(folder, 'k3s.keybuzz-new'), 'hello world')
    else onIt(script)
    return ''
  })
  const [, step, images] = hasRelease(host, { settings: defaultSettings(), ssh }, { k3s: hello, images: hello })
  const restart = runsWhatIsConfigured(host, ssh, hello)
  return {
    folder, done, step: step!, images: images!,
    says: () => onIt(step!.check as string).stdout,
    due: () => onIt(restart.check as string).stdout.replaceAll(`${folder}/`, ''),
    restart: () => onIt((restart.change as string).replace(/systemctl.*/g, 'true')),
    file: (name: string) => readFileSync(join(folder, name), 'utf8')
  }
}

test('a file of the release is told missing or another one by its sum, and pushed', async () => {
  const { folder, done, step, says, file } = release('inactive')
  assert.is(says(), 'is missing')
  writeFileSync(join(folder, 'k3s'), 'hello')
  assert.is(says(), 'is another one')
  await (step.change as () => Promise<void>)()
  assert.is(done[0], 'push /cache/k3s to /usr/local/bin/k3s.keybuzz-new')
  assert.is(says(), '')
  assert.equal([file('k3s'), existsSync(join(folder, 'k3s.keybuzz-new'))], ['hello world', false], 'nothing runs: it is switched at once')
})

test('where K3s runs its new binary waits beside the old one, and is switched with the restart', async () => {
  for (const state of ['active', 'activating']) {
    const { folder, step, says, due, restart, file } = release(state)
    writeFileSync(join(folder, 'k3s'), 'hello')
    utimesSync(join(folder, 'k3s'), 500, 500)
    assert.is(says(), 'is another one; the new one will wait beside it until K3s restarts')
    assert.is(due(), '')
    await (step.change as () => Promise<void>)()
    assert.is(says(), '= waits beside the one that runs, until K3s restarts')
    assert.is(file('k3s'), 'hello', 'a crash now starts the old version')
    assert.is(due(), 'the new k3s waits for a restart')
    utimesSync(join(folder, 'k3s.keybuzz-new'), 900, 900)
    restart()
    assert.equal([file('k3s'), existsSync(join(folder, 'k3s.keybuzz-new')), says()], ['hello world', false, ''])
    assert.is(due(), 'k3s is newer than the running k3s', 'cut before the restart, it is still due')
  }
})

test('a binary that an earlier run has left beside the one that runs is not switched to', () => {
  const { folder, says, due, restart, file } = release('active')
  writeFileSync(join(folder, 'k3s'), 'hello world')
  writeFileSync(join(folder, 'k3s.keybuzz-new'), 'of another version')
  utimesSync(join(folder, 'k3s'), 500, 500)
  assert.equal([says(), due()], ['', ''])
  restart()
  assert.is(file('k3s'), 'hello world')
})

const kubelet = (more: Kubelet = {}): Promise<string> => withKubelet(hasSoundKubelet(agent, [host]).check as string, more)

test('a kubelet is well where it says so itself, and its Node is Ready since K3s was started', async () => {
  assert.is(await kubelet(), '')
  assert.is(await kubelet({ ready: `${beat} False container runtime is down` }), 'is not Ready: container runtime is down')
  assert.is(await kubelet({ healthz: '[-]syncloop failed' }), 'its kubelet says [-]syncloop failed')
})

test('a Node that is Ready by a heartbeat of before the restart is not well', async () => {
  assert.is(await kubelet({ ready: '2026-11-26T09:59:59Z True kubelet is posting ready status' }), 'has sent no heartbeat since K3s was started')
  assert.is(await kubelet({ ready: '' }), 'has sent no heartbeat since K3s was started')
})

test('where the API that the node asks does not answer, a server is asked for its Node', async () => {
  assert.is(await kubelet({ away: true }), '')
  assert.is(await kubelet({ away: true, ready: `${beat} False container runtime is down` }), 'is not Ready: container runtime is down')
})

test('a kubelet that refuses its arguments shows its own words, once', async () => {
  const refusal = 'E1126 10:00:05.0 17 run.go:72] "command failed" err="ImageGCHighThresholdPercent 75 must be greater than ImageGCLowThresholdPercent 80"'
  const journal = `I1126 10:00:04.0 17 server.go:1] fine\nE1126 10:00:04.1 17 reflector.go:9] "noise"\n${refusal}\ntime=x level=error msg="kubelet exited: exit status 1"`
  assert.is(await kubelet({ healthz: '', journal }), `its kubelet does not answer on 127.0.0.1:10248\n${refusal}\ntime=x level=error msg="kubelet exited: exit status 1"`)
  assert.is(await kubelet({ healthz: '', journal: 'E1126 10:00:04.1 17 x.go:9] "last"' }), 'its kubelet does not answer on 127.0.0.1:10248\nE1126 10:00:04.1 17 x.go:9] "last"')
})

test('a worker tells whether K3s runs there, also while it crashes again and again', () => {
  const says = (state: string): string => onNode(askWhetherRuns.shell(agent), { path: [commands({ systemctl: `echo ${state}; exit 3` })] }).stdout
  assert.equal(['active', 'activating', 'inactive', 'failed'].map(says), ['runs', 'runs', '', ''])
})

test('a file is copied by hand as root, or with sudo', () => {
  assert.is(copyByHand(host, 'k3s', { path: '/usr/local/bin/k3s', mode: '0755' }), `scp k3s root@10.0.0.100:/tmp/k3s
ssh root@10.0.0.100 install -D -m 0755 /tmp/k3s /usr/local/bin/k3s
ssh root@10.0.0.100 rm /tmp/k3s`)
  assert.is(copyByHand(admin, 'a/b.tar', { path: '/var/c.tar', mode: '0644' }), `scp a/b.tar admin@10.0.0.111:/tmp/c.tar
ssh admin@10.0.0.111 sudo install -D -m 0644 /tmp/c.tar /var/c.tar
ssh admin@10.0.0.111 rm /tmp/c.tar`)
})

const shellOf = (part: NodeStep['check'] | NodeStep['change']): string => {
  if (typeof part !== 'string') throw new TypeError('it is no shell')
  return part
}
const textOf = (step: NodeStep): string => /<<'END'.*\n([^]*?)END\n/.exec(shellOf(step.change))![1]!

const ofEveryNode = {
  'flannel-iface': 'enp7s0',
  'token-file': '/etc/rancher/k3s/token',
  'resolv-conf': '/etc/rancher/k3s/resolv.conf',
  'protect-kernel-defaults': true,
  'kubelet-arg': [
    'max-pods=250', 'streaming-connection-idle-timeout=5m',
    'system-reserved=cpu=200m,memory=512Mi', 'kube-reserved=cpu=200m,memory=512Mi'
  ],
  'kube-proxy-arg': ['nodeport-addresses=10.0.0.0/16', 'conntrack-max-per-core=0']
}

test('the configuration of a server', () => {
  const step = hasConfig(serverConfig(host, { settings: defaultSettings(), servers: [host, second] }, 'enp7s0'))
  assert.match(shellOf(step.check), /\/etc\/rancher\/k3s\/config\.yaml[^]* == '0600 root'/)
  assert.match(textOf(step), /^# Written by KeyBuzz K3s HA; edits are undone\.\nnode-name: /)
  assert.equal(parse(textOf(step)), {
    'node-name': 'k3s-master-01',
    'node-ip': '10.0.0.100',
    ...ofEveryNode,
    'agent-token-file': '/etc/rancher/k3s/agent-token',
    'tls-san': ['10.0.0.10', '10.0.0.100', '10.0.0.101'],
    'cluster-cidr': '10.42.0.0/16',
    'service-cidr': '10.43.0.0/16',
    'cluster-dns': '10.43.0.10',
    'cluster-domain': 'cluster.local',
    disable: ['traefik', 'servicelb'],
    'default-local-storage-path': '/var/lib/rancher/k3s/storage',
    'secrets-encryption': true,
    'write-kubeconfig-mode': '0600',
    'etcd-expose-metrics': true,
    'etcd-snapshot-schedule-cron': '0 */6 * * *',
    'etcd-snapshot-retention': 28,
    'node-taint': ['CriticalAddonsOnly=true:NoExecute'],
    'etcd-arg': ['heartbeat-interval=200', 'election-timeout=2000'],
    'kube-apiserver-arg': [
      'audit-log-path=/var/lib/rancher/k3s/server/logs/audit.log',
      'audit-policy-file=/etc/rancher/k3s/audit-policy.yaml',
      'audit-log-maxage=30', 'audit-log-maxbackup=10', 'audit-log-maxsize=100',
      'service-account-extend-token-expiration=false'
    ],
    'kube-controller-manager-arg': ['terminated-pod-gc-threshold=100']
  })
})

test('an agent is configured to join through the load balancer, and has nothing of a server', () => {
  assert.equal(parse(textOf(hasConfig(agentConfig(agent, defaultSettings(), 'enp7s0')))), {
    server: 'https://10.0.0.10:6443', 'node-name': 'k3s-worker-01', 'node-ip': '10.0.0.110', ...ofEveryNode
  })
})

test('what the settings leave out is left out of the configuration', () => {
  const settings = defaultSettings()
  Object.assign(settings.k3s, { system_reserved: '', kube_reserved: '', server_taint: false, etcd_args: [], kubelet_args: ['v=4'] })
  const config = serverConfig(host, { settings, servers: [host] }, 'eth1')
  assert.equal(config['kubelet-arg'], ['max-pods=250', 'streaming-connection-idle-timeout=5m', 'v=4'])
  assert.not('node-taint' in config || 'etcd-arg' in config)
})

test('pods get the nameservers of the settings', () => {
  const { network } = defaultSettings()
  const step = givesPodsNameservers({ ...defaultSettings(), network: { ...network, nameservers: ['9.9.9.9', '1.1.1.1'] } })
  assert.is(textOf(step), 'nameserver 9.9.9.9\nnameserver 1.1.1.1\n')
})

test('the unit of a role runs K3s in that role, and is started and enabled by its name', () => {
  assert.equal([unitOf(host), unitOf(agent)], ['k3s', 'k3s-agent'])
  assert.match(textOf(hasUnit(host)), /^ExecStart=\/usr\/local\/bin\/k3s server$/m)
  assert.match(textOf(hasUnit(agent)), /^ExecStart=\/usr\/local\/bin\/k3s agent$/m)
  assert.match(shellOf(hasUnit(agent).check), /\/etc\/systemd\/system\/k3s-agent\.service/)
  assert.match(shellOf(isStarted(agent).change), /enable --quiet k3s-agent\nsystemctl start --no-block k3s-agent$/)
})

test('K3s that does not run, or would not at boot, is not started', () => {
  const says = (enabled: string, active: string): string => {
    const path = [commands({ systemctl: `case $1 in is-enabled) echo ${enabled};; is-active) echo ${active}; [[ ${active} == active ]];; esac` })]
    return onNode(shellOf(isStarted(host).check), { path }).stdout
  }
  assert.is(says('enabled', 'active'), '')
  assert.is(says('enabled', 'activating'), '')
  assert.is(says('disabled', 'active'), 'does not start at boot')
  assert.is(says('enabled', 'failed'), 'is failed')
})

const inFolder = (shell: string, folder: string): string => shell.replaceAll('/etc/rancher/k3s', folder).replaceAll('root', userName)
const userName = onNode('id -un').stdout
const secure = `K10${'0'.repeat(64)}::server:abc123`

test('a token is held by its secret, private, in the form that K3s wants', () => {
  const folder = join(mkdtempSync(join(tmpdir(), 'keybuzz-token-')), 'k3s')
  const token = hasToken('token', new Secret(secure))
  const says = (step: NodeStep): string => onNode(inFolder(shellOf(step.check), folder)).stdout
  const make = (step: NodeStep) => assert.is(onNode(inFolder(shellOf(step.change), folder)).code, 0)
  assert.is(says(token), 'is missing')
  make(token)
  assert.is(readFileSync(join(folder, 'token'), 'utf8'), `${secure}\n`)
  assert.is(says(token), '')
  assert.is(says(hasToken('token', new Secret('abc123'))), '')
  assert.is(says(hasToken('token', new Secret('abc124'))), 'is another one')
  onNode(`chmod 0644 ${folder}/token`)
  assert.is(says(token), 'can be read by others')
  make(hasToken('agent-token', new Secret(secure), 'secret'))
  assert.is(readFileSync(join(folder, 'agent-token'), 'utf8'), 'abc123\n')
  assert.is(statSync(folder).mode & 0o777, 0o700)
})

const since = (seconds: number | string, newer: string[], role = host) => {
  const folder = mkdtempSync(join(tmpdir(), 'keybuzz-config-'))
  for (const name of ['config.yaml', 'token', 'resolv.conf', 'k3s', `${unitOf(role)}.service`]) {
    writeFileSync(join(folder, name), '')
    const time = newer.includes(name) ? 2000 : 500
    utimesSync(join(folder, name), time, time)
  }
  const path = [commands({ systemctl: `echo '${seconds}'` })]
  const check = shellOf(runsWhatIsConfigured(role, answeringSsh(() => ''), file).check)
    .replaceAll('/etc/rancher/k3s', folder).replaceAll('/usr/local/bin', folder).replaceAll('/etc/systemd/system', folder)
  return onNode(check, { path }).stdout.replaceAll(`${folder}/`, '')
}

test('files that are newer than the process are told, and nothing else', () => {
  assert.is(since('@1000', []), '')
  assert.is(since('@1000', ['config.yaml', 'token']), 'config.yaml is newer than the running k3s\ntoken is newer than the running k3s')
  assert.is(since('@1000', ['k3s']), 'k3s is newer than the running k3s')
  assert.is(since('@1000', ['k3s-agent.service'], agent), 'k3s-agent.service is newer than the running k3s')
  assert.is(since('', ['config.yaml']), '', 'what does not run has nothing to restart')
})

test('without a gate K3s is restarted by the node itself', () => {
  const { change, byHand, follows } = runsWhatIsConfigured(agent, answeringSsh(() => ''), file)
  assert.match(change as string, /^if .*\ntouch .*keybuzz-new\nmv .*keybuzz-new \/usr\/local\/bin\/k3s\nfi\nsystemctl daemon-reload\nsystemctl restart --no-block k3s-agent$/)
  assert.equal([byHand, follows], [undefined, true])
})

test('with a gate K3s is restarted once that is passed, and not where it is not', async () => {
  const ssh = answeringSsh(() => '')
  const order: string[] = []
  const open = runsWhatIsConfigured(host, ssh, file, { pass: async () => void order.push(`after ${ssh.asked.length}`), byHand: 'look first' })
  await (open.change as () => Promise<void>)()
  assert.equal(order, ['after 0'])
  assert.equal(ssh.asked.map(({ script }) => script.split('\n').slice(-2)), [['systemctl daemon-reload', 'systemctl restart --no-block k3s']])
  const shut = runsWhatIsConfigured(host, ssh, file, { pass: async () => { throw new Error('no quorum') }, byHand: 'look first' })
  await (shut.change as () => Promise<void>)().then(() => assert.unreachable(), (error: Error) => assert.is(error.message, 'no quorum'))
  assert.is(ssh.asked.length, 1)
})

test('by hand the gate comes before the restart, as root', () => {
  const byHand = (on: typeof host) => runsWhatIsConfigured(on, answeringSsh(() => ''), file, { pass: async () => {}, byHand: 'look first' }).byHand
  const waits = (sudo: string): string => `touch /usr/local/bin/k3s.keybuzz-new && ${sudo}mv /usr/local/bin/k3s.keybuzz-new /usr/local/bin/k3s'`
  assert.is(byHand(host), `look first
# Only where a new k3s waits:
ssh root@10.0.0.100 '${waits('')}
ssh root@10.0.0.100 'systemctl daemon-reload && systemctl restart --no-block k3s'`)
  assert.is(byHand({ ...admin, role: 'server' }), `look first
# Only where a new k3s waits:
ssh admin@10.0.0.111 'sudo ${waits('sudo ')}
ssh admin@10.0.0.111 'sudo systemctl daemon-reload && sudo systemctl restart --no-block k3s'`)
})

test('an old pod network is removed where there is one, and that is all', () => {
  const path = [commands({ ip: 'echo "ip $*"; [[ $3 == cni0 ]]' })]
  assert.equal(onNode(removeOldNetwork, { path }), { stdout: 'ip link delete cni0\nip link delete flannel.1', stderr: '', code: 0 })
  assert.is(removeOldNetworkByHand(admin),
    `ssh admin@10.0.0.111 'sudo ip link delete cni0; sudo ip link delete flannel.1'     # "Cannot find device" is fine`)
})

test.run()
