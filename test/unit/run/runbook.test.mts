import { execFileSync, spawnSync } from 'node:child_process'
import { globSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Secret } from '../../../lib/input/secrets.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import type { Run } from '../../../lib/run/run.mts'
import { renderRunbook } from '../../../lib/run/runbook.mts'
import type { Script } from '../../../lib/run/script.mts'
import type { NodeStep } from '../../../lib/run/step.mts'
import { hostOf } from '../../support/hosts.mts'

const folder = mkdtempSync(join(tmpdir(), 'keybuzz-runbook-'))
test.after(() => rmSync(folder, { recursive: true }))

const file = join(folder, 'made-up.mts')
writeFileSync(file, `#!/usr/bin/env node
// 09_k3s_99  Do nothing
//
// Does nothing at all.
//
// Needs:   two nodes, and
//          patience.
// Changes: nothing.
// Example: ./made-up.mts --plan

export {}
`)

const s = hostOf('s-1', { role: 'server', pool: 'control-plane', address: '10.0.0.100' })
const a = hostOf('w-1', { address: '10.0.0.110' })
const b = hostOf('w-2', { address: '10.0.0.111', user: 'ops' })
const hosts = [s, a, b]

/** The runbook of a story. */
const told = (story: (run: Run) => Promise<void>, chosen = hosts, settings = defaultSettings()): Promise<string> => {
  const script: Script = { id: '09_k3s_99', title: 'Do nothing', file, flags: {}, story }
  return renderRunbook([script], {} as never, { hosts, machines: [], chosen, settings, signal: new AbortController().signal })
}
/** What the story told, behind the chapter's header. */
const toldIn = async (story: (run: Run) => Promise<void>, chosen = hosts): Promise<string> =>
  (await told(story, chosen)).split('- Changes: nothing.\n\n')[1] ?? ''
/** The steps, and where each is taken. */
const stepsOf = (text: string): string[] =>
  text.split(/^### \d+\. /m).slice(1).flatMap((step) =>
    [...step.matchAll(/^(?:On|From the bastion, for) (.+):$/gm)].map(([, where]) => `${step.split('\n')[0]} on ${where}`))

test('a whole runbook', async () => {
  const { k3s: { version } } = defaultSettings()
  const text = await told(async (run) => {
    const nics = await run.ask(run.agents, { what: 'NIC has IP_PRIVEE', shell: ({ address }) => `ip -o address | grep ${address}`, bare: '<NIC>' })
    await run.on(run.agents, (host) => [
      { name: 'has swap off', check: 'swapon --show', change: 'swapoff --all', hint: 'look at /etc/fstab' },
      { name: `has ${host.address}`, check: `ip address show ${nics.get(host.name)} | grep -q ${host.address}`, within: 30 }
    ])
    await run.once([{
      name: 'has both nodes', check: async () => '', look: 'kubectl get nodes', trial: true,
      change: async () => {}, byHand: 'kubectl uncordon w-1'
    }])
  })
  assert.is(text, `# Runbook: 09_k3s_99 Do nothing

Environment prod, K3s ${version}. How to use it:

- It shows what is done with bare nodes. Where a check prints nothing, the step holds: go on to the next one. Lines that
  begin with \`= \` are what was seen, and no fault.
- "On" a node means in a root shell there: log in as below, \`sudo -i\` where you are not root, then \`set +H\`. "From the
  bastion" means your own shell on the bastion. Paste one block at a time.
- On the bastion: \`alias kubectl='~/.keybuzz/cache/${version}/k3s kubectl --context keybuzz-prod'\`. On a server \`k3s kubectl\` works without the load balancer.
- \`<NAME>\` in capitals stands for a value that is not known here. It is explained before it is used. Put the value in its
  place before you paste.

| Node | Role | Pool | Log in |
|---|---|---|---|
| s-1 | server | control-plane | \`ssh root@10.0.0.100\` |
| w-1 | agent | general | \`ssh root@10.0.0.110\` |
| w-2 | agent | general | \`ssh ops@10.0.0.111\` |

## 09_k3s_99  Do nothing

Does nothing at all.

- Needs: two nodes, and patience.
- Changes: nothing.

On w-1: which NIC has IP_PRIVEE? The answer of a node stands for \`<NIC>\` in what follows for it.

\`\`\`bash
(set -euo pipefail
ip -o address | grep 10.0.0.110
)
\`\`\`

On w-2: which NIC has IP_PRIVEE? The answer of a node stands for \`<NIC>\` in what follows for it.

\`\`\`bash
(set -euo pipefail
ip -o address | grep 10.0.0.111
)
\`\`\`

### 1. has swap off

On w-1, w-2:

\`\`\`bash
(set -euo pipefail
swapon --show
)
\`\`\`

Where it does not hold:

\`\`\`bash
(set -euo pipefail
swapoff --all
)
\`\`\`

Hint: look at /etc/fstab

### 2. has 10.0.0.110

On w-1:

\`\`\`bash
(set -euo pipefail
ip address show <NIC> | grep -q 10.0.0.110
)
\`\`\`

It may take 30 s to hold: check again until then.

### 3. has 10.0.0.111

On w-2:

\`\`\`bash
(set -euo pipefail
ip address show <NIC> | grep -q 10.0.0.111
)
\`\`\`

It may take 30 s to hold: check again until then.

### 4. has both nodes

From the bastion:

\`\`\`bash
kubectl get nodes
\`\`\`

Where it does not hold, by hand:

\`\`\`bash
kubectl uncordon w-1
\`\`\`

This is a trial: it makes objects of its own and removes them.
`)
})

const step = (name: string, more: Partial<NodeStep> = {}): NodeStep => ({ name, check: `look for ${name}`, ...more } as NodeStep)

test('steps that hosts share are told once, those of one host apart, each host\'s in its own order', async () => {
  const lists: Record<string, string[]> = { 's-1': ['one', 'server', 'two', 'three'], 'w-1': ['one', 'two', 'worker', 'three'], 'w-2': ['two', 'three', 'one'] }
  const steps = stepsOf(await toldIn((run) => run.on(run.hosts, ({ name }) => lists[name]!.map((one) => step(one)))))
  for (const host of hosts) {
    const own = steps.filter((line) => line.split(' on ')[1]!.split(', ').includes(host.name)).map((line) => line.split(' on ')[0])
    assert.equal(own, lists[host.name], host.name)
  }
  assert.ok(steps.includes('two on s-1, w-1, w-2') || steps.includes('two on s-1, w-1'), steps.join('\n'))
  assert.ok(steps.includes('server on s-1'))
})

test('steps in the same order are told once each, whatever stands between them', async () => {
  const extra = (name: string): NodeStep[] => (name === 'w-1' ? [step('extra')] : [])
  const text = await toldIn((run) => run.on(run.hosts, ({ name }) => [step('one'), ...extra(name), step('two')]))
  assert.equal(stepsOf(text), ['one on s-1, w-1, w-2', 'extra on w-1', 'two on s-1, w-1, w-2'])
})

test('steps of one name that are made differently stand under one heading, one below the other', async () => {
  const text = await toldIn((run) => run.on(run.agents, (host) => [step('x', { check: `echo ${host.name}` }), step('y')]))
  assert.equal(stepsOf(text), ['x on w-1', 'x on w-2', 'y on w-1, w-2'])
  assert.equal(text.match(/^### .+$/gm), ['### 1. x', '### 2. y'])
})

test('steps whose names differ by the node alone stand together', async () => {
  const text = await toldIn((run) => run.on(run.agents, ({ name, address }) => [step(`is called ${name}`), step(`has ${address}`), step('y')]))
  assert.equal(stepsOf(text), [
    'is called w-1 on w-1', 'is called w-2 on w-2', 'has 10.0.0.110 on w-1', 'has 10.0.0.111 on w-2', 'y on w-1, w-2'
  ])
})

test('a step that a node takes twice is told twice', async () => {
  const text = await toldIn((run) => run.on(run.agents, () => [step('x'), step('y'), step('x')]))
  assert.equal(stepsOf(text), ['x on w-1, w-2', 'y on w-1, w-2', 'x on w-1, w-2'])
})

test('one node at a time is told as such, host by host, each time', async () => {
  const text = await toldIn(async (run) => {
    await run.on(run.agents, () => [step('one'), step('two')], { atOnce: 1 })
    await run.once([{ name: 'is whole', check: async () => '', look: 'kubectl get nodes' }])
    await run.on(run.agents, () => [step('three')], { atOnce: 1 })
    await run.on([a], () => [step('four')], { atOnce: 1 })
  })
  assert.equal(stepsOf(text), ['one on w-1', 'two on w-1', 'one on w-2', 'two on w-2', 'three on w-1', 'three on w-2', 'four on w-1'])
  const careful = text.split('\n').filter((line) => line.startsWith('**1 node at a time.**') || line.startsWith('### '))
  assert.equal(careful.map((line) => line.slice(0, 6)), ['**1 no', '### 1.', '### 2.', '### 3.', '### 4.', '### 5.', '**1 no', '### 6.', '### 7.', '### 8.'])
})

test('an answer that a bare node does not give, and one question for all', async () => {
  const text = await toldIn(async (run) => {
    const answers = await run.ask(run.hosts, { what: 'cluster it holds', shell: () => '[[ -d /data ]] || exit 0; cat /data/id', bare: '' })
    assert.equal(answers, new Map(hosts.map(({ name }) => [name, ''])))
  })
  assert.is(text, `On s-1, w-1, w-2: which cluster it holds? On a bare node it prints nothing.

\`\`\`bash
(set -euo pipefail
[[ -d /data ]] || exit 0; cat /data/id
)
\`\`\`
`)
})

test('what is asked for twice is told once', async () => {
  const question = { what: 'NIC it has', shell: () => 'ip address', bare: '<NIC>' }
  const text = await toldIn(async (run) => {
    await run.ask([a], question)
    await run.ask([a], question)
  })
  assert.is(text.split('which NIC it has?').length, 2)
})

test('steps are told of chosen hosts only; all are asked, as in a run', async () => {
  const text = await toldIn(async (run) => {
    const answers = await run.ask(run.agents, { what: 'NIC it has', shell: () => 'ip address', bare: '<NIC>' })
    assert.equal([...answers], [['w-1', '<NIC>'], ['w-2', '<NIC>']])
    await run.on(run.hosts, () => [step('one')])
  }, [b])
  assert.match(text, /^On w-1, w-2: which NIC it has\?/)
  assert.equal(stepsOf(text), ['one on w-2'])
})

test('a step from the bastion for one node says for which, and what must hold before all else says so', async () => {
  const text = await toldIn((run) => run.on([a], () => [
    { name: 'is Ready', check: async () => '', look: 'kubectl get node w-1', always: true }
  ]))
  assert.is(text, `### 1. is Ready

From the bastion, for w-1:

\`\`\`bash
kubectl get node w-1
\`\`\`

Do not go on while this does not hold.
`)
})

test('a story that asks anybody outside a step fails', async () => {
  const words = (story: (run: Run) => Promise<unknown>): Promise<string> =>
    told(async (run) => void (await story(run))).then(() => 'it was told', (error: Error) => error.message)
  const expected = 'a story asks only in its steps and with run.ask: a runbook is made without hosts'
  assert.is(await words((run) => run.ssh.run(a, 'true')), expected)
  assert.is(await words((run) => run.ssh.capture(a, 'true')), expected)
  assert.is(await words((run) => run.ssh.push(a, file, { path: '/x', mode: '0644', sha256: '' })), expected)
  assert.is(await words((run) => run.kubectl`get nodes`), expected)
})

test('a named secret is shown by its name, and a shell that has a fence of its own gets a longer one', async () => {
  const token = Secret.named('<SOME_TOKEN>')
  const text = await toldIn((run) => run.on([a], () => [step('has the token', { change: `cat > token <<'END'\n${token.reveal()}\n\`\`\`\nEND` })]))
  assert.match(text, /````bash\n\(set -euo pipefail\ncat > token <<'END'\n<SOME_TOKEN>\n```\nEND\n\)\n````/)
  assert.not.match(text, /\[secret\]/)
})

test('kubectl is that of the release, also where it is in a folder of its own', async () => {
  const settings = defaultSettings()
  const text = await told(async () => {}, hosts, { ...settings, environment: 'staging', k3s: { ...settings.k3s, artifacts: '/srv/k3s' } })
  assert.match(text, /`alias kubectl='\/srv\/k3s\/k3s kubectl --context keybuzz-staging'`/)
})

test('the release is explained once, and its files stand by their names', async () => {
  const text = await toldIn(async (run) => {
    assert.is((await run.release()).k3s.sha256, '<SHA256_OF_K3S>')
    assert.is((await run.release()).k3s.file, 'k3s')
  })
  assert.is(text.split('sha256sum --check').length, 2)
  assert.match(text, /`<SHA256_OF_K3S>`/)
})

// ---- The real ones ----

const root = join(import.meta.dirname, '../../..')
const scripts = globSync('09_*.mts', { cwd: root }).toSorted()
const home = join(folder, 'home')
execFileSync('mkdir', [home])

// No process may be started and no file be written, which Node sees to; nor anybody be reached.
const offline = `data:text/javascript,${encodeURIComponent(`import { Socket } from 'node:net'
Socket.prototype.connect = () => { throw new Error('a runbook reaches nobody') }`)}`

const runbookOf = (name: string) => spawnSync(
  process.execPath,
  ['--permission', '--allow-fs-read=*', '--import', offline, join(root, name), '--runbook', '-'],
  { encoding: 'utf8', env: { PATH: home, HOME: home }, cwd: home }
)

for (const name of scripts) {
  test(`the runbook of ${name} is made from the files alone, and its shell is shell`, () => {
    const { status, stdout, stderr } = runbookOf(name)
    assert.is(stderr, '')
    assert.is(status, 0)
    assert.equal(readdirSync(home), [])
    assert.match(stdout, /^# Runbook: /)
    assert.match(stdout, /^### 1\. /m)
    for (const wrong of ['[secret]', 'undefined', '[object']) assert.not(stdout.includes(wrong), wrong)
    // Every placeholder is explained before it is used.
    const text = stdout.split('\n## ').slice(1).join('\n## ')
    for (const placeholder of new Set(text.match(/<[A-Z0-9_]{2,}>/g))) {
      const first = text.split('\n').find((line) => line.includes(placeholder) && !line.startsWith('- '))
      assert.ok(first?.includes(`\`${placeholder}\``) || first?.includes(`${placeholder} is `), `${placeholder}: ${first}`)
    }
    const blocks = [...stdout.matchAll(/^(`{3,})bash\n([\s\S]*?)\n\1$/gm)].map(([, , shell = '']) => shell)
    assert.ok(blocks.length > 0)
    // A function each: one bash for hundreds of blocks.
    const all = blocks.map((shell, index) => `block_${index}() {\n:\n${shell}\n}`).join('\n')
    assert.is(spawnSync('bash', ['-n'], { input: all, encoding: 'utf8' }).stderr, '')
  })
}

test('all scripts were told', () => {
  for (const number of ['01', '02', '03', '04', '05', '09']) assert.ok(scripts.some((name) => basename(name).startsWith(`09_k3s_${number}_`)), number)
})

test.run()
