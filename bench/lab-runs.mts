import { nodes } from '../test/lab/containers.mts'
import { exec, labUp, reset } from '../test/lab/nodes.mts'
import type { Progress } from '../test/lab/progress.mts'
import { runInBastion } from './bastion.mts'
import { failures, parseTold, summary, type LabResult, type Timed } from './told.mts'

export type LabResults = { k3s: string; fresh: LabResult; converged: LabResult; plan: LabResult }

const disconnect = `for socket in ~/.keybuzz/ssh/*; do
  ssh -O exit -o "ControlPath=$socket" node 2>/dev/null || true
done`

const applyAll = async (flags: string[], signal: AbortSignal): Promise<Timed> => {
  signal.throwIfAborted()
  await exec('bastion', disconnect)
  const began = performance.now()
  const { stdout, stderr, exitCode } = await runInBastion(['./09_k3s_apply_all.mts', '--json', ...flags], signal)
  const seconds = (performance.now() - began) / 1000
  const told = parseTold(stdout, stderr)
  if (exitCode === 0) return { seconds, told }
  throw new Error(`apply_all ${flags.join(' ')} ended with ${exitCode}:\n${failures(told).join('\n')}`)
}

/** Brings the lab to eight bare nodes that are booted, and a bastion that has K3s's release. Returns its version. */
export const bareLab = async (): Promise<string> => {
  const { found, release } = await labUp()
  if (!nodes.every(({ name }) => found.get(name) === 'new')) await reset()
  return release.version
}

/** Brings the lab to a converged cluster, from whatever there is. */
export const convergedLab = async ({ progress, signal }: { progress: Progress; signal: AbortSignal }): Promise<void> => {
  await labUp()
  await progress.task('apply_all in the lab', () => applyAll(['--yes'], signal))
}

/** From eight bare nodes to a cluster, then `rounds` times by turns an apply and a plan of what is converged. */
export const measureLab = async (
  k3s: string,
  { rounds, progress, signal }: { rounds: number; progress: Progress; signal: AbortSignal }
): Promise<LabResults> =>
  progress.task('apply_all in the lab', async (say) => {
    say('fresh apply')
    const fresh = await applyAll(['--yes'], signal)
    const converged: Timed[] = []
    const plan: Timed[] = []
    for (let number = 1; number <= rounds; number++) {
      say(`round ${number} of ${rounds}, converged apply`)
      converged.push(await applyAll(['--yes'], signal))
      say(`round ${number} of ${rounds}, plan`)
      plan.push(await applyAll(['--plan'], signal))
    }
    const results = { k3s, fresh: summary([fresh]), converged: summary(converged), plan: summary(plan) }
    if (results.converged.changes > 0) throw new Error('the second apply still had something to change')
    return results
  })
