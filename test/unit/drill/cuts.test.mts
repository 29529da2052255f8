// The shell of the cuts, on a node that is a network namespace with a /run of its own; its systemd is a stand-in that
// writes down what it is asked. A second namespace is everybody else.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test as always } from 'uvu'
import * as assert from 'uvu/assert'
import type { Host } from '../../../lib/input/inventory.mts'
import { eventually } from '../../support/eventually.mts'
import { useFakeSsh } from '../../support/fake-ssh.mts'

const folder = useFakeSsh()
const { clean, cutOff, dead, killK3s, killPod, partition, scripted } = await import('../../../lib/drill/cuts.mts')
const { createSsh } = await import('../../../lib/reach/ssh.mts')
const ssh = createSsh()

const node: Host = {
  name: 'k3s-master-02', address: '10.0.0.101', publicAddress: '', user: 'root', fqdn: '', role: 'server',
  stack: 'k3s-control-plane', pool: 'control-plane', line: 3
}
const { signal } = new AbortController()

const log = join(folder, 'systemd.log')
const program = (name: string, text: string): void => {
  writeFileSync(join(folder, name), `#!/bin/bash\n${text}\n`)
  chmodSync(join(folder, name), 0o755)
}
program('systemctl', `echo "systemctl $*" >> ${log}
case "$*" in
  'is-active k3s') echo failed; exit 3 ;;
  'kill '*) cat /run/systemd/system/k3s.service.d/keybuzz-drill.conf >> ${log} ;;
esac`)
program('systemd-run', `echo "systemd-run $*" >> ${log}
iptables -t mangle -S | grep KEYBUZZ >> ${log}
[[ ! -e /run/systemd/system/k3s.service.d ]] || echo too late >> ${log}`)
const told = (): string[] => {
  const lines = existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []
  writeFileSync(log, '')
  return lines
}

// Only root may have a network of his own, and not in every container.
const ownNetwork = ['--net', '--mount']
const can = spawnSync('unshare', [...ownNetwork, 'bash', '-c', 'iptables -t mangle -S && ip link'], { encoding: 'utf8' })
if (can.status !== 0) console.log(`Left out: ${can.stderr.trim()}`)
const test = can.status === 0 ? always : always.skip

const children: ChildProcess[] = []
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')))
const begin = (command: string, args: string[]): number => {
  const child = spawn(command, args, { stdio: 'ignore', cwd: join(folder, 'empty') })
  child.unref()
  children.push(child)
  return child.pid!
}
const into = (place: number): string[] => [`--target=${place}`, ...ownNetwork]
const run = (place: number, script: string) => spawnSync('nsenter', [...into(place), 'bash', '-c', script], { encoding: 'utf8' })
const rules = (): string => run(here, 'iptables -t mangle -S | grep -v ^-P').stdout
const curl = (from: number, address: string, to: string, seconds: number): Promise<number | null> => {
  const command = `curl -s --noproxy '*' -o /dev/null -m ${seconds} ${address && `--interface ${address}`} http://${to}/`
  return new Promise((resolve) => spawn('nsenter', [...into(from), 'bash', '-c', command], { stdio: 'ignore' }).on('close', resolve))
}
const reaches = async (from: number, address: string, to: string): Promise<boolean> => (await curl(from, address, to, 2)) === 0
const timesOut = async (from: number, address: string, to: string): Promise<boolean> => (await curl(from, address, to, 0.3)) === 28
const allHold = async (facts: Record<string, Promise<boolean>>): Promise<void> => {
  for (const [what, fact] of Object.entries(facts)) assert.ok(await fact, what)
}

let here = 0
let others = 0
if (can.status === 0) {
  mkdirSync(join(folder, 'empty'))
  others = begin('unshare', [...ownNetwork, 'sleep', '300'])
  here = begin('unshare', [...ownNetwork, 'bash', '-c', 'mount -t tmpfs run /run; exec sleep 300'])
  await eventually('the namespaces come up', () => run(here, 'findmnt -t tmpfs /run').status === 0 && run(others, 'ip -o link').stdout.trim().split('\n').length === 1)
  run(here, `ip link set lo up
ip link add enp7s0 type veth peer name far netns ${others}; ip addr add 10.0.0.101/24 dev enp7s0; ip link set enp7s0 up
ip link add cni0 type veth peer name pod netns ${others}; ip addr add 10.42.1.1/24 dev cni0; ip link set cni0 up`)
  run(others, `for last in 2 100 102; do ip addr add 10.0.0.$last/24 dev far; done; ip link set far up
ip addr add 10.42.1.5/24 dev pod; ip link set pod up; ip link set lo up`)
  const serve = (place: number, port: string): number => begin('nsenter', [...into(place), 'python3', '-m', 'http.server', port])
  for (const port of ['22', '8080', '2381']) serve(here, port)
  serve(others, '8080')
  program('ssh', `for word; do command=$word; done
export SSH_CONNECTION='10.0.0.2 50000 10.0.0.101 22'
exec nsenter ${into(here).join(' ')} bash -c "$command"`)
  const answers = (): Promise<boolean[]> => Promise.all([
    ...['22', '8080', '2381'].map((port) => reaches(others, '10.0.0.2', `10.0.0.101:${port}`)), reaches(here, '', '10.0.0.2:8080')
  ])
  await eventually('all answer', async () => (await answers()).every(Boolean))
}

test('a node that is cut off is reached by nothing but the bastion over ssh, and reaches nobody; nobody is told', async () => {
  const cut = scripted(ssh, node, { how: 'x', script: cutOff })
  await cut.make(signal)
  await allHold({
    'the bastion, ssh': reaches(others, '10.0.0.2', '10.0.0.101:22'),
    'the bastion, anything else': timesOut(others, '10.0.0.2', '10.0.0.101:8080'),
    "another node's ssh": timesOut(others, '10.0.0.100', '10.0.0.101:22'),
    'from the node outwards': timesOut(here, '', '10.0.0.2:8080'),
    'the node itself': reaches(here, '', '10.0.0.101:8080'),
    'its pods': reaches(here, '', '10.42.1.5:8080')
  })
  await cut.undo(signal)
  await allHold({ 'another node, again': reaches(others, '10.0.0.100', '10.0.0.101:8080'), 'outwards, again': reaches(here, '', '10.0.0.2:8080') })
  assert.is(rules(), '')
})

test('a server that is isolated reaches clients, and the other servers do not reach it', async () => {
  const cut = scripted(ssh, node, { how: 'x', script: partition(['10.0.0.100', '10.0.0.102']) })
  await cut.make(signal)
  await allHold({
    'a client': reaches(others, '10.0.0.2', '10.0.0.101:8080'),
    'to a client': reaches(here, '', '10.0.0.2:8080'),
    ...Object.fromEntries(['10.0.0.100', '10.0.0.102'].flatMap((server) => [
      [`from ${server}`, timesOut(others, server, '10.0.0.101:8080')], [`to ${server}`, timesOut(here, '', `${server}:8080`)]
    ]))
  })
  await cut.undo(signal)
  await allHold({ 'a server, again': reaches(others, '10.0.0.100', '10.0.0.101:8080'), 'to a server, again': reaches(here, '', '10.0.0.102:8080') })
  assert.is(rules(), '')
})

test('the timer that takes the cut back is there before the cut', async () => {
  told()
  const cut = scripted(ssh, node, { how: 'x', script: cutOff })
  await cut.make(signal)
  assert.equal(told(), [
    'systemd-run --quiet --collect --unit=keybuzz-drill-restore --on-active=180 --timer-property=AccuracySec=1s ' +
      '--property=Restart=on-failure --property=RestartSec=5 bash /run/keybuzz-drill/restore',
    'systemctl is-active --quiet keybuzz-drill-restore.timer'
  ])
  assert.is(run(here, 'bash /run/keybuzz-drill/restore').status, 0) // as the timer does
  assert.is(rules(), '')
  assert.is(run(here, 'bash /run/keybuzz-drill/restore').status, 0)
  await cut.undo(signal)
  assert.equal(told(), ['systemctl stop keybuzz-drill-restore.timer keybuzz-drill-restore.service'])
  assert.is(run(here, 'ls -d /run/keybuzz-drill').status, 2)
})

test('k3s is killed alone, held down, and started again', async () => {
  told()
  const cut = scripted(ssh, node, { how: 'x', script: killK3s })
  await cut.make(signal)
  assert.equal(told().slice(2), [
    'systemctl daemon-reload',
    'systemctl kill --kill-whom=main -s KILL k3s', '[Service]', 'Restart=no',
    'systemctl is-active k3s'
  ])
  await cut.undo(signal)
  assert.equal(told(), [
    'systemctl daemon-reload',
    'systemctl reset-failed k3s',
    'systemctl start --no-block k3s',
    'systemctl stop keybuzz-drill-restore.timer keybuzz-drill-restore.service'
  ])
  assert.is(run(here, 'ls /run/systemd/system/k3s.service.d').stdout, '')
})

test('a cut is taken back as often as one likes, and k3s is started only where it was killed', async () => {
  const cut = scripted(ssh, node, { how: 'x', script: cutOff })
  await cut.undo(signal)
  await cut.make(signal)
  await cut.undo(signal)
  await cut.undo(signal)
  assert.not.match(told().join('\n'), /systemctl start/)
})

test('what a killed drill has left is taken back, before anything else is cut', async () => {
  await scripted(ssh, node, { how: 'x', script: cutOff }).make(signal)
  assert.equal(await clean(ssh, [node], signal), ['k3s-master-02'])
  assert.is(rules(), '')
  assert.equal(await clean(ssh, [node], signal), [])
  await scripted(ssh, node, { how: 'x', script: cutOff }).make(signal)
  const second = scripted(ssh, node, { how: 'x', script: partition(['10.0.0.100']) })
  await second.make(signal)
  assert.ok(await reaches(here, '', '10.0.0.2:8080'))
  await second.undo(signal)
  assert.is(rules(), '')
})

test("others' rules stay as they are", async () => {
  const theirs = '-A PREROUTING -i lo -j ACCEPT\n'
  run(here, `iptables -t mangle ${theirs}`)
  const cut = scripted(ssh, node, { how: 'x', script: cutOff })
  await cut.make(signal)
  assert.ok(rules().includes('-A PREROUTING -j KEYBUZZ-DRILL-IN\n-A PREROUTING -i lo -j ACCEPT'), rules())
  await cut.undo(signal)
  assert.is(rules(), theirs)
  run(here, 'iptables -t mangle -F')
})

test('without a way in for the bastion nothing is cut', async () => {
  const text = readFileSync(join(folder, 'ssh'), 'utf8')
  writeFileSync(join(folder, 'ssh'), text.replace(/^export .*$/m, 'export SSH_CONNECTION=unknown'))
  const cut = scripted(ssh, node, { how: 'x', script: cutOff })
  try {
    await cut.make(signal)
    assert.unreachable()
  } catch (error) {
    assert.match((error as Error).message, /does not say where the ssh connection comes from/)
  }
  assert.not.match(rules(), /-j KEYBUZZ/)
  writeFileSync(join(folder, 'ssh'), text)
  await cut.undo(signal)
  assert.is(rules(), '')
})

test('a rule that cannot be removed is an error, not a success', async () => {
  const cut = scripted(ssh, node, { how: 'x', script: cutOff })
  await cut.make(signal)
  run(here, 'iptables -t mangle -A INPUT -j KEYBUZZ-DRILL-IN')
  try {
    await cut.undo(signal)
    assert.unreachable()
  } catch (error) {
    assert.match((error as Error).message, /-A INPUT -j KEYBUZZ-DRILL-IN\nthese rules of the drill are left/)
  }
  run(here, 'iptables -t mangle -D INPUT -j KEYBUZZ-DRILL-IN')
  await cut.undo(signal)
  assert.is(rules(), '')
})

test('a pod without processes is told', async () => {
  try {
    assert.throws(() => killPod("x' /proc; reboot; '"), /no pod has such a uid/)
    await ssh.capture(node, killPod('0f0e0d0c-0b0a-4908-8706-050403020100', 1))
    assert.unreachable()
  } catch (error) {
    assert.match((error as Error).message, /no process of the pod was found/)
  }
})

always('power is given back once, and waited for', async () => {
  const calls: string[] = []
  const power = { off: async () => void calls.push('off'), on: async () => void calls.push('on') }
  const cut = dead(ssh, { ...node, address: '192.0.2.255' }, power)
  if (can.status === 0) program('ssh', 'echo gone >&2; exit 255')
  await cut.make(signal)
  for (let tries = 0; tries < 2; tries++) {
    await cut.undo(signal).then(() => assert.unreachable(), (error: Error) => assert.match(error.message, /unreachable/))
  }
  assert.equal(calls, ['off', 'on'])
})

always.run()
