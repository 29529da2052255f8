import { readFile } from 'node:fs/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defaultSettings } from '../../../lib/input/settings.mts'
import { changeCommands, firewallStep, stateScript } from '../../../lib/node/firewall.mts'
import { addCommand, declared } from '../../../lib/node/firewall-rules.mts'
import { answeringSsh } from '../../support/answering-ssh.mts'
import { hostOf } from '../../support/hosts.mts'
import { commands, onNode, unreadable } from '../../support/node-shell.mts'

const first = hostOf('k3s-master-01', { role: 'server', address: '10.0.0.100' })
const second = hostOf('k3s-master-02', { role: 'server', address: '10.0.0.101' })
const worker = hostOf('k3s-worker-01', { address: '10.0.0.110', user: 'admin' })
const hosts = [first, second, worker]
const settings = defaultSettings()

const converged = await readFile(new URL('../../fixtures/firewall/converged-server.txt', import.meta.url), 'utf8')
const kubelet = "ufw allow in on enp7s0 from 10.0.0.110 to any port 10250 proto tcp comment 'keybuzz-k3s: kubelet'"
const lacking = converged.replace(`${kubelet}\n`, '')

const failure = async (promise: Promise<unknown> | undefined): Promise<Error> => {
  try {
    await promise
  } catch (error) {
    return error as Error
  }
  throw new Error('it did not fail')
}

type Said = Parameters<typeof answeringSsh>[0]

/** The step for the first server, whose firewall is in a state; `said` answers whatever changes it. */
const stepFor = (state: string, said: Said = () => '') => {
  const ssh = answeringSsh((script, host) => (script.startsWith("\necho '# ssh'") ? state : said(script, host)))
  const step = firewallStep(first, { hosts, settings, ssh })
  const change = step.change as () => Promise<void>
  const check = step.check as () => Promise<string>
  return { step, check, change, changes: () => ssh.asked.filter(({ script }) => script !== stateScript(first)) }
}

test('the step reads as a fact, and its check names the address that it looks for', () => {
  assert.is(stepFor(converged).step.name, 'has the firewall of the cluster')
  assert.match(stateScript(first), /at\[1\] == "10\.0\.0\.100"/)
})

test('by hand the firewall is looked at as root', () => {
  const look = (host: typeof first) => firewallStep(host, { hosts, settings, ssh: answeringSsh(() => '') }).look
  assert.is(look(first), "ssh root@10.0.0.100 'ufw status verbose; ufw show added'")
  assert.is(look(worker), "ssh admin@10.0.0.110 'sudo ufw status verbose; sudo ufw show added'")
})

test('by hand the same rules are added, with names for the NIC and the bastion, and then ufw is enabled', () => {
  const text = firewallStep(worker, { hosts, settings, ssh: answeringSsh(() => '') }).byHand!
  const around = { hosts, settings, nic: 'eth7', ssh: { from: '10.0.0.2', port: '22' } }
  const rules = declared(worker, around).map(addCommand)
  const lines = text.replaceAll('<NIC>', 'eth7').replaceAll('<BASTION>', '10.0.0.2').split('\n')
  assert.equal(lines.filter((line) => line.startsWith('ufw') && line.includes('keybuzz-k3s')), rules)
  assert.equal(lines.filter((line) => !rules.includes(line)), [
    '# 10.0.0.2 is the first word that this prints, and the port its last one, where that is not 22:',
    `ssh admin@10.0.0.110 'echo "$SSH_CONNECTION"'`,
    '# Then on the node, as root, the rule for ssh first. What listens (ss -lntup) and no rule allows is closed at the end.',
    'ufw default deny incoming', 'ufw default deny routed', 'systemctl enable ufw.service', 'ufw --force enable',
    '# Log in once more from the bastion before you close this shell.'
  ])
  assert.match(rules[0]!, /port 22 .* ssh from the bastion'$/)
})

test('a firewall as it should be holds, and a change of it does nothing', async () => {
  const { check, change, changes } = stepFor(converged)
  assert.is(await check(), '')
  await change()
  assert.equal(changes(), [])
})

test('a missing rule is told, added, and confirmed over a connection of its own', async () => {
  const { check, change, changes } = stepFor(lacking)
  assert.is(await check(), 'missing: kubelet 10250/tcp on enp7s0 from 10.0.0.110')
  await change()
  const [made, confirmed, ...more] = changes().map(({ script }) => script)
  assert.equal(more, [])
  assert.ok(made!.endsWith(`bash /run/keybuzz-ufw/rollback\n${kubelet}`))
  assert.ok(made!.indexOf('systemd-run') < made!.indexOf(kubelet), 'the way back is laid before the change')
  assert.match(confirmed!, /mv \/run\/keybuzz-ufw\/armed \/run\/keybuzz-ufw\/confirmed/)
  assert.equal([made, confirmed].map((script) => unreadable(script!)), ['', ''])
})

test('a change that fails is taken back at once', async () => {
  const { change, changes } = stepFor(lacking, (script) =>
    script.includes('systemd-run') ? { exitCode: 1, stderr: 'ERROR: Bad port' } : '')
  assert.is((await failure(change())).message, 'ERROR: Bad port\nexit 1\nThe node has its former firewall back.')
  assert.is(changes().length, 2)
  assert.match(changes()[1]!.script, /bash \/run\/keybuzz-ufw\/rollback/)
})

test('a change after which nobody gets in is taken back, here or by the node itself', async () => {
  const cutOff = (backTo: 'here' | 'node') => stepFor(lacking, (script) => {
    if (script.includes('confirmed')) throw new Error('unreachable: ssh root@10.0.0.100 exit 255')
    if (backTo === 'node' && script.includes('taken-back ]]')) throw new Error('unreachable')
    return ''
  })
  const here = cutOff('here')
  assert.is((await failure(here.change())).message, `the firewall was changed, and then no new ssh connection got through:
unreachable: ssh root@10.0.0.100 exit 255
The node has its former firewall back.`)
  assert.is(here.changes().filter(({ script }) => script.includes('confirmed')).length, 3)
  assert.match((await failure(cutOff('node').change())).message, /takes its former firewall back by itself in less than 120 s\.$/)
})

test('a confirmation that the node refuses is not tried again', async () => {
  const { change, changes } = stepFor(lacking, (script) =>
    script.includes('confirmed') ? { exitCode: 1, stderr: 'the confirmation came too late' } : '')
  assert.match((await failure(change())).message, /the confirmation came too late/)
  assert.is(changes().filter(({ script }) => script.includes('confirmed')).length, 1)
})

test('an interruption is neither confirmed nor taken back from here: the node does that', async () => {
  const interrupted = Object.assign(new Error('interrupted'), { name: 'AbortError' })
  const { change, changes } = stepFor(lacking, (script) => {
    if (script.includes('confirmed')) throw interrupted
    return ''
  })
  assert.is(await failure(change()), interrupted)
  assert.is(changes().length, 2)
})

test('a rule of others that stands in the way, and an address that no NIC has, could not be judged', async () => {
  const open = stepFor(converged.replace('# file\n', 'ufw allow 8472/udp\n# file\n'))
  assert.match((await failure(open.check())).message, /"ufw allow 8472\/udp" opens 8472\/udp beyond the private network/)
  assert.match((await failure(open.change())).message, /beyond the private network/)
  assert.equal(open.changes(), [])
  const nowhere = stepFor(converged.replace(/# nic\n.*\n/, '# nic\n'))
  assert.is((await failure(nowhere.check())).message, 'no NIC has the address 10.0.0.100')
})

test('what a change hooks back into the kernel is shell that bash can read', () => {
  const none = { add: [], remove: [], deny: [], start: false, words: [], conflicts: [] }
  assert.equal(changeCommands({ ...none, enable: false, reload: false }), [])
  assert.is(unreadable(changeCommands({ ...none, enable: true, reload: true }).join('\n')), '')
})

test('a node without ufw says where the ssh connection comes from, which NIC has its address and what listens, and no more', () => {
  const path = [commands({
    ip: "echo '1: lo    inet 127.0.0.1/8 scope host lo'; echo '3: enp7s0    inet 10.0.0.100/32 scope global enp7s0'",
    ss: '[[ $* == -Hlntup ]] && echo listens'
  })]
  const shell = stateScript(first).replace('command -v ufw', 'false')
  const { stdout, code } = onNode(`SSH_CONNECTION='10.0.0.2 50000 10.0.0.100 22'\n${shell}`, { path })
  assert.equal([stdout, code], ['# ssh\n10.0.0.2 50000 10.0.0.100 22\n# nic\nenp7s0\n# listening\nlistens', 0])
})

test.run()
