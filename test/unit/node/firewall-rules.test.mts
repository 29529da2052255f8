import { readFile } from 'node:fs/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { changeCommands } from '../../../lib/node/firewall.mts'
import { addCommand, declared, deleteCommand, difference, parseAdded, parseState, scrapers } from '../../../lib/node/firewall-rules.mts'
import type { Host } from '../../../lib/input/inventory.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'

const host = (name: string, last: number, role: Host['role']): Host => ({
  name, role, address: `10.0.0.${last}`, publicAddress: '', user: 'root', fqdn: '', stack: '', pool: '', line: 1
})
const first = host('k3s-master-01', 100, 'server')
const second = host('k3s-master-02', 101, 'server')
const worker = host('k3s-worker-01', 110, 'agent')
const hosts = [first, second, worker]
const settings = defaultSettings()
const around = { hosts, settings, nic: 'enp7s0', ssh: { from: '10.0.0.2', port: '22' } }

// What a real ufw 0.36.2 and iptables 1.8.9 printed for k3s-master-01 once it had all rules, and two of others.
const converged = await readFile(new URL('../../fixtures/firewall/converged-server.txt', import.meta.url), 'utf8')

/** The difference that is found in the converged state after an edit of it. */
const found = (edit?: (text: string) => string) => {
  const text = edit?.(converged) ?? converged
  if (edit && text === converged) throw new Error('the edit has changed nothing')
  return difference(declared(first, around), first, parseState(text))
}
const without = (...lines: string[]) => (text: string): string => {
  for (const line of lines) {
    if (!text.includes(`${line}\n`)) throw new Error(`not in the fixture: ${line}`)
    text = text.replace(`${line}\n`, '')
  }
  return text
}
const withForeign = (line: string) => (text: string): string => text.replace('# file\n', `${line}\n# file\n`)
const section = (name: string) => (text: string): string =>
  text.replace(new RegExp(`# ${name}\\n(?:[^#].*\\n)*`), `# ${name}\n`)

const kubelet = "ufw allow in on enp7s0 from 10.0.0.110 to any port 10250 proto tcp comment 'keybuzz-k3s: kubelet'"
const kubeletKernel = '-A ufw-user-input -s 10.0.0.110/32 -i enp7s0 -p tcp -m tcp --dport 10250 -j ACCEPT'

const balancers = "comment 'keybuzz-k3s: ingress from the load balancers'"

test('a server is given what a server needs', () => {
  assert.equal(declared(first, around).map(addCommand), [
    "ufw allow from 10.0.0.2 to any port 22 proto tcp comment 'keybuzz-k3s: ssh from the bastion'",
    "ufw allow in on enp7s0 from 10.0.0.0/16 to any port 6443 proto tcp comment 'keybuzz-k3s: API and supervisor'",
    "ufw allow in on enp7s0 from 10.0.0.101 to any port 2379:2380 proto tcp comment 'keybuzz-k3s: etcd'",
    "ufw allow in on enp7s0 from 10.0.0.101 to any port 10250 proto tcp comment 'keybuzz-k3s: kubelet'",
    kubelet,
    "ufw allow in on enp7s0 from 10.0.0.101 to any port 8472 proto udp comment 'keybuzz-k3s: pod network (VXLAN)'",
    "ufw allow in on enp7s0 from 10.0.0.110 to any port 8472 proto udp comment 'keybuzz-k3s: pod network (VXLAN)'",
    `ufw allow in on enp7s0 from 10.0.0.5 to any port 80,443 proto tcp ${balancers}`,
    `ufw allow in on enp7s0 from 10.0.0.6 to any port 80,443 proto tcp ${balancers}`,
    "ufw allow in on enp7s0 from 10.0.0.2 to any port 80,443 proto tcp comment 'keybuzz-k3s: ingress from the bastion'",
    "ufw allow in on enp7s0 from 10.0.0.110 to any port 9100,9113 proto tcp comment 'keybuzz-k3s: metrics for Prometheus'",
    "ufw allow in on enp7s0 from 10.0.0.110 to any port 2381 proto tcp comment 'keybuzz-k3s: etcd metrics for Prometheus'",
    "ufw allow in on cni0 from 10.42.0.0/16 comment 'keybuzz-k3s: pods to their node'",
    "ufw allow in on cni0 from 10.43.0.0/16 comment 'keybuzz-k3s: pods to their node'",
    "ufw allow in on flannel.1 from 10.42.0.0/16 comment 'keybuzz-k3s: pods of other nodes'",
    "ufw route allow in on cni0 from 10.42.0.0/16 comment 'keybuzz-k3s: pods to anywhere'",
    'ufw route allow in on flannel.1 from 10.42.0.0/16 to 10.42.0.0/16 ' +
      "comment 'keybuzz-k3s: pods of other nodes to pods'",
    "ufw route allow in on enp7s0 from 10.0.0.0/16 to 10.42.0.0/16 comment 'keybuzz-k3s: private network to pods'"
  ])
})

test('an agent is given neither the API nor etcd', () => {
  const ports = declared(worker, around).map(({ port }) => port)
  assert.not(ports.some((port) => /6443|2379|2381/.test(port)))
  assert.is(ports.filter((port) => port === '10250/tcp').length, 2)
  assert.is(ports.filter((port) => port === '8472/udp').length, 2)
})

test('metrics are for the nodes that Prometheus may run on, and a node lets itself in by cni0', () => {
  const pooled = [...hosts, { ...host('k3s-worker-04', 113, 'agent'), pool: 'observability' }, { ...host('k3s-worker-05', 114, 'agent'), pool: 'reserve' }]
  const sources = (one: Host, all: Host[], port: string): string[] =>
    declared(one, { ...around, hosts: all }).filter((rule) => rule.port === port).map(({ from }) => from)
  assert.equal(scrapers(pooled, settings).map(({ name }) => name), ['k3s-worker-04', 'k3s-worker-05'])
  assert.equal(sources(first, pooled, '2381/tcp'), ['10.0.0.113', '10.0.0.114'])
  assert.equal(sources(worker, pooled, '9100,9113/tcp'), ['10.0.0.113', '10.0.0.114'])
  assert.equal(sources(worker, pooled, '2381/tcp'), [])
  assert.equal(sources(pooled[3]!, pooled, '9100,9113/tcp'), ['10.0.0.114'])
  const single = pooled.slice(0, 4)
  assert.equal(sources(single[3]!, single, '9100,9113/tcp'), [], 'the only one of the pools')
})

test('where no agent is of the pools, any of them may scrape, and never a server', () => {
  assert.equal(scrapers(hosts, settings), [worker])
  assert.equal(scrapers([{ ...first, pool: 'observability' }, second], settings), [])
})

test('no rule lets anything in on the public NIC but ssh from the bastion', () => {
  const rules = hosts.flatMap((one) => declared(one, around)).filter(({ port }) => port !== '22/tcp')
  assert.equal([...new Set(rules.map(({ nic }) => nic))], ['enp7s0', 'cni0', 'flannel.1'])
})

test('a converged server has no difference, whatever others have added', () => {
  const { words, conflicts, add, remove, enable, start, reload, deny } = found()
  assert.equal({ words, conflicts, add, remove, enable, start, reload, deny }, {
    words: [], conflicts: [], add: [], remove: [], enable: false, start: false, reload: false, deny: []
  })
})

test('a missing rule is added, and nothing else', () => {
  const change = found((text) => without(kubelet, kubeletKernel)(text)
    .replace('-A ufw-user-input -i enp7s0 -p tcp --dport 10250 -s 10.0.0.110 -j ACCEPT\n', ''))
  assert.equal(change.words, ['missing: kubelet 10250/tcp on enp7s0 from 10.0.0.110'])
  assert.equal(changeCommands(change), [kubelet])
})

test('a rule of a node that has left is deleted, after what is missing was added', () => {
  const change = found((text) => text.replaceAll('10.0.0.110', '10.0.0.111'))
  assert.equal(change.remove.map(({ spec }) => spec).toSorted(), [
    'ufw allow in on enp7s0 from 10.0.0.111 to any port 10250 proto tcp',
    'ufw allow in on enp7s0 from 10.0.0.111 to any port 2381 proto tcp',
    'ufw allow in on enp7s0 from 10.0.0.111 to any port 8472 proto udp',
    'ufw allow in on enp7s0 from 10.0.0.111 to any port 9100,9113 proto tcp'
  ])
  assert.is(change.words.filter((word) => word.startsWith('no longer needed: ufw allow in on')).length, 4)
  const verbs = changeCommands(change).map((command) => (command.includes(' delete ') ? 'delete' : 'add'))
  assert.equal(verbs, [...Array(4).fill('add'), ...Array(4).fill('delete')])
})

test('a rule that another bastion came in by stays', () => {
  const line = "ufw allow from 10.0.0.3 to any port 22 proto tcp comment 'keybuzz-k3s: ssh from the bastion'"
  const web = "ufw allow in on enp7s0 from 10.0.0.3 to any port 80,443 proto tcp comment 'keybuzz-k3s: ingress from the bastion'"
  assert.equal(found(withForeign(`${line}\n${web}`)).remove, [])
})

test('a rule is deleted with its comment, so that the same rule of somebody else would stay', () => {
  const route = "ufw route allow in on cni0 from 10.42.0.0/16 comment 'keybuzz-k3s: x'"
  const commands = parseAdded(`${kubelet}\n${route}\n`).map(deleteCommand)
  assert.equal(commands, [kubelet.replace('ufw ', 'ufw delete '), route.replace('ufw route ', 'ufw route delete ')])
})

test('the same rule without our comment is enough, and is left alone', () => {
  const change = found((text) => text.replace(kubelet, kubelet.replace(/ comment .*/, '')))
  assert.equal(change.words, [])
})

test('a rule that only the kernel has lost is found, and loaded again', () => {
  const change = found(without(kubeletKernel))
  assert.equal(change.words, ['not in the kernel, though ufw has it: kubelet 10250/tcp on enp7s0 from 10.0.0.110'])
  assert.is(changeCommands(change)[0], 'ufw reload')
})

test('a routed rule that only the kernel has lost is found', () => {
  const change = found(without('-A ufw-user-forward -s 10.42.0.0/16 -i cni0 -j ACCEPT'))
  assert.equal(change.words, ['not in the kernel, though ufw has it: pods to anywhere on cni0 from 10.42.0.0/16'])
})

test('a rule of others that only the kernel has lost is found by the count', () => {
  const change = found(without('-A ufw-user-input -p tcp -m tcp --dport 9100 -j ACCEPT'))
  assert.equal(change.words, ["the kernel has 19 rules, ufw's file 20"])
  assert.is(change.reload, true)
})

test('a policy and a chain that somebody has changed behind ufw are found', () => {
  const change = found((text) => text
    .replace('# kernel\n-P INPUT DROP', '# kernel\n-P INPUT ACCEPT')
    .replace('-A FORWARD -j ufw-before-forward\n', '')
    .replace('# kernel6\n-P INPUT DROP', '# kernel6\n-P INPUT ACCEPT'))
  assert.equal(change.words, [
    "the kernel's INPUT policy is not DROP",
    "the kernel's FORWARD chain does not pass through ufw",
    "the kernel's INPUT policy for IPv6 is not DROP"
  ])
  assert.match(changeCommands(change).at(-1)!, /iptables -w 5 -A/)
})

test('a kernel without IPv6 is no difference', () => {
  assert.equal(found(section('kernel6')).words, [])
})

test('an inactive ufw is enabled last, once it lets the bastion in', () => {
  const change = found((text) =>
    section('added')(section('file')(section('kernel')(text))).replace('ENABLED=yes', 'ENABLED=no'))
  assert.equal(change.words.slice(0, 3), [
    'ufw is not active', 'ufw does not start at boot', 'missing: ssh from the bastion 22/tcp from 10.0.0.2'
  ])
  const commands = changeCommands(change)
  const at = (start: string): number => commands.findIndex((command) => command.startsWith(start))
  assert.is(at('ufw allow from 10.0.0.2 to any port 22'), 1)
  assert.is(at('ufw --force enable'), commands.length - 2)
})

test('an ufw that systemd does not start is told to', () => {
  const change = found((text) => text.replace('# service\nenabled', '# service\ndisabled'))
  assert.equal(change.words, ['ufw does not start at boot'])
  assert.equal(changeCommands(change), ['systemctl enable ufw.service'])
})

test('defaults that let everything in become deny, after the rules', () => {
  const change = found((text) => without(kubelet)(text).replaceAll('POLICY="DROP"', 'POLICY="ACCEPT"'))
  assert.equal(change.words, [
    'incoming traffic is allowed by default',
    'routed traffic is allowed by default',
    'missing: kubelet 10250/tcp on enp7s0 from 10.0.0.110'
  ])
  assert.equal(changeCommands(change).slice(0, 3), [kubelet, 'ufw default deny incoming', 'ufw default deny routed'])
})

test('reject is as good as deny', () => {
  assert.equal(found((text) => text.replaceAll('POLICY="DROP"', 'POLICY="REJECT"')).words, [])
})

test('a change that waits for its confirmation is not yet in force', () => {
  const change = found((text) => text.replace('# unconfirmed\n', '# unconfirmed\nyes\n'))
  assert.equal(change.words, ['an earlier change was not confirmed, the node will take it back'])
  assert.equal(changeCommands(change), [])
})

test('a node without ufw says so', () => {
  const change = found((text) => text.replace(/# installed[^]*/, ''))
  assert.is(change.words[0], 'ufw is not installed')
  assert.equal(change.deny, [])
})

test('where the bastion comes from is needed, and nothing else is taken for it', () => {
  const bad = (line: string) => () => parseState(converged.replace('10.0.0.2 50000 10.0.0.100 22', line))
  assert.throws(bad(''), /SSH_CONNECTION/)
  assert.throws(bad('10.0.0.2;reboot 1 10.0.0.100 22'), /SSH_CONNECTION/)
  assert.throws(bad('10.0.0.2 1 10.0.0.100 22;reboot'), /SSH_CONNECTION/)
  assert.is(bad('2001:DB8::2 1 2001:db8::100 2222')().ssh.from, '2001:db8::2')
})

test('a NIC, and a rule of ours, with text that a shell could misread get into none', () => {
  assert.throws(() => parseState(converged.replace('# nic\nenp7s0', '# nic\n$(reboot)')), /the NIC is called "\$\(reboot\)"/)
  const line = "ufw allow '$(reboot)' comment 'keybuzz-k3s: x'"
  assert.equal(found(withForeign(line)).remove, [])
})

test('a bastion that comes over IPv6 is let in by its address, and looked for in no IPv4 chain', () => {
  const rules = declared(first, { ...around, ssh: { from: '2001:db8::2', port: '2222' } })
  const line = "ufw allow from 2001:db8::2 to any port 2222 proto tcp comment 'keybuzz-k3s: ssh from the bastion'"
  assert.is(addCommand(rules[0]!), line)
  assert.equal(difference(rules, first, parseState(withForeign(line)(converged))).words, [])
})

test.run()
