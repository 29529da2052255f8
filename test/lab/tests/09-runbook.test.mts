// The runbook of 03 for one worker is done by hand on a bare node, as an operator would without this tool.
import { test } from './timed.mts'
import * as assert from 'uvu/assert'
import { bastion, exec, labUp, reset } from '../nodes.mts'
import { converge, on, script, those, until } from './cluster.mts'

const node = 'k3s-worker-05'

await labUp()
await converge('--to', '03')

type Block = { label: string; step: string; shell: string }

/** The blocks of shell in a runbook, each with the sentence before it. */
const blocksOf = (text: string): Block[] =>
  [...text.matchAll(/^### \d+\. (.*)$|^(\S.*)\n\n(`{3,})bash\n([^]*?)\n\3$/gm)].reduce<Block[]>((blocks, [, step, label, , shell]) => {
    if (label === undefined) return [...blocks, { step: step!, label: '', shell: '' }]
    return [...blocks, { step: blocks.at(-1)?.step ?? '', label, shell: shell! }]
  }, []).filter(({ label }) => label !== '')

// The operator's folder on the bastion, with the files of the release, and the alias that the runbook gives.
const prelude = `set -e; mkdir -p ~/by-hand; cd ~/by-hand; ln -sf /artifacts/* .
kubectl() { ./k3s kubectl --context keybuzz-prod "$@"; }
set +e
`
const fromBastion = async (shell: string): Promise<string> => {
  const { stdout, stderr } = await exec('bastion', prelude + shell)
  return stdout + stderr
}
const differs = (printed: string): string => printed.split('\n').filter((line) => line !== '' && !line.startsWith('= ')).join('\n')

test('what the runbook of 03 says, typed by hand, joins a bare node, and the script finds nothing to change', async () => {
  await reset([node])
  const prepared = await script('09_k3s_01_prepare', '--yes', '--hosts', node)
  assert.is(prepared.exitCode, 0, prepared.text)
  const runbook = await bastion(['./09_k3s_03_join_workers.mts', '--runbook', '-', '--hosts', node])
  assert.is(runbook.exitCode, 0, runbook.stderr)

  const known = new Map([
    ['<AGENT_TOKEN>', (await fromBastion('cat ~/.keybuzz/secrets/prod-k3s-agent-token')).trim()],
    ['<SHA256_OF_K3S>', (await fromBastion(`awk '$2 == "k3s" { print $1 }' sha256sum-amd64.txt`)).trim()],
    ['<SHA256_OF_IMAGES>', (await fromBastion(`awk '$2 ~ /images/ { print $1 }' sha256sum-amd64.txt`)).trim()]
  ])
  const filled = (shell: string): string =>
    shell.replaceAll(/<[A-Z][A-Z0-9_]+>/g, (name) => known.get(name) ?? assert.unreachable(`${name} is not explained`) as never)

  let seen = ''
  for (const { label, step, shell } of blocksOf(runbook.stdout)) {
    const text = filled(shell)
    const answer = /^On \S+: which .* stands for `(<\w+>)`/.exec(label)?.[1]
    if (answer !== undefined) known.set(answer, await on(node, text))
    else if (label === `On ${node}:`) seen = differs(await on(node, text))
    else if (label.startsWith('From the bastion')) {
      const isThere = async (): Promise<boolean> => !/not found/i.test(await fromBastion(text))
      if (!text.includes('"not found" is what should be')) await until(step, 180, isThere) // the node is registering
      seen = (await isThere()) ? 'differs' : ''
    }
    else if (label === 'Where it does not hold:' && seen !== '') {
      await on(node, text)
      const check = filled(blocksOf(runbook.stdout).find((one) => one.step === step)!.shell)
      await until(step, 60, async () => differs(await on(node, check)) === '')
    } else if (label === 'Where it does not hold, by hand:' && seen !== '') await fromBastion(text)
    else if (!label.startsWith('Where')) await fromBastion(text)
  }

  const after = await script('09_k3s_03_join_workers', '--yes')
  assert.is(after.exitCode, 0, after.text)
  assert.equal(those(after, 'changed', 'pending', 'failed'), [])
})

test('a runbook of all scripts is made in the bastion without ssh, kubectl or a release', async () => {
  const { exitCode, stdout, stderr } = await bastion(['bash', '-c', 'HOME=/tmp/nobody ./09_k3s_apply_all.mts --artifacts /nowhere --runbook -'])
  assert.is(exitCode, 0, stderr)
  assert.match(stdout, /^# Runbook: all scripts/)
  console.log(`  ${(stdout.length / 1000).toFixed(0)} kB`)
})

test.run()
