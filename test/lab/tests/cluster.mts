// What the lab's tests ask the cluster, and how they run the scripts.
import { bastion, exec } from '../nodes.mts'
import { took } from './timed.mts'

export type Outcome = { step: string; result: string; words?: string; evidence?: string }
export type Run = {
  exitCode: number
  seconds: number
  ssh: { connections: number; commands: number }
  scripts: { id: string; seconds: number; hosts: Record<string, Outcome[]> }[]
  /** What the operator would have seen. */
  text: string
}

export const masters = ['k3s-master-01', 'k3s-master-02', 'k3s-master-03']
export const workers = [1, 2, 3, 4, 5].map((number) => `k3s-worker-0${number}`)
export const everyNode = [...masters, ...workers]

/** Runs a script in the bastion with --json. The exit code is checked against what the result says. */
export const script = async (name: string, ...flags: string[]): Promise<Run> => {
  const { stdout, stderr, exitCode } = await bastion([`./${name}.mts`, '--json', ...flags])
  if (stdout === '') throw new Error(`${name} ended with ${exitCode} and without a result:\n${stderr}`)
  const run = JSON.parse(stdout) as Run
  if (run.exitCode !== exitCode) throw new Error(`exit code ${exitCode}, result says ${run.exitCode}`)
  return { ...run, text: stderr }
}

export const applyAll = (...flags: string[]): Promise<Run> => script('09_k3s_apply_all', ...flags)

/** Has the cluster as the scripts make it, whatever there was before; with `--to`, as far as that. Throws with what the operator would have seen. */
export const converge = async (...flags: string[]): Promise<Run> => {
  const run = await applyAll('--yes', ...flags)
  if (run.exitCode !== 0) throw new Error(run.text)
  const long = run.scripts.filter(({ seconds }) => seconds >= 10).map(({ id, seconds }) => `${id.slice(-2)} ${seconds.toFixed(0)} s`)
  took(run.seconds, `the cluster converges${long.length > 0 ? `: ${long.join(', ')}` : ''}`)
  return run
}

/** "k3s-worker-01: has the token" of every outcome of the kinds asked for. */
export const those = (run: Run, ...results: string[]): string[] =>
  run.scripts.flatMap(({ hosts }) =>
    Object.entries(hosts).flatMap(([host, outcomes]) =>
      outcomes.filter(({ result }) => results.includes(result)).map(({ step }) => `${host}: ${step}`)
    )
  )

/** kubectl in the bastion, with the context that the scripts have made, and how it ended. */
export const tryKubectl = (args: string[], options: { input?: string } = {}) =>
  bastion(['/artifacts/k3s', 'kubectl', '--kubeconfig', '/root/.kube/config', ...args], options)

/** The same where it must succeed: what it printed. Throws with what it said otherwise. */
export const kubectl = async (...args: string[]): Promise<string> => {
  const { stdout, stderr, exitCode } = await tryKubectl(args)
  if (exitCode !== 0) throw new Error(stderr)
  return stdout.trim()
}

/** The names of the nodes on which a condition is True. */
export const nodesThatAre = async (condition: string): Promise<string[]> => {
  const path = `{range .items[*]}{.metadata.name}{" "}{.status.conditions[?(@.type=="${condition}")].status}{"\\n"}{end}`
  const lines = await kubectl('get', 'nodes', '-o', `jsonpath=${path}`)
  return lines.split('\n').filter((line) => line.endsWith(' True')).map((line) => line.split(' ')[0]!).toSorted()
}

/** Runs a script on a node past ssh, and throws where it fails. */
export const on = async (node: string, command: string): Promise<string> => {
  const { stdout, stderr, exitCode } = await exec(node, command)
  if (exitCode !== 0) throw new Error(`${node}: ${stderr}`)
  return stdout.trim()
}

/** What runs of ours have left running on the nodes: a bash that reads its script from a pipe, or its timeout. */
export const leftovers = async (): Promise<string[]> => {
  const found = await Promise.all(everyNode.map((node) => on(node, `pgrep -af 'timeout [-]-kill-after|bash [-]s' || true`)))
  return found.filter((lines) => lines !== '')
}

/** Waits until what is asked for is so; throws with `what` where it is not so in time (seconds). */
export const until = async (what: string, seconds: number, ask: () => Promise<boolean>): Promise<void> => {
  const end = Date.now() + seconds * 1000
  while (!(await ask().catch(() => false))) {
    if (Date.now() > end) throw new Error(`not in ${seconds} s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 300))
  }
}
