import { type Fault, renderFault, UsageError } from '../base/errors.mts'
import type { Run } from './run.mts'

type Lack = {
  /** Completes "all settings of": "the applications". */
  of: string
  /** The script that says it too: 09_k3s_06_deploy_core_apps. */
  script: string
  faults: Fault[]
}

/**
 * Says what a story lacks in its settings, and whether it may go on. A plan and an apply throw a UsageError with all faults. A
 * validation has them as one finding, and goes on with other scripts. A runbook has placeholders instead.
 */
export const isComplete = async ({ mode, once, skipRest }: Pick<Run, 'mode' | 'once' | 'skipRest'>, { of, script, faults }: Lack): Promise<boolean> => {
  if (mode === 'runbook') return true
  if (mode !== 'validate') {
    if (faults.length > 0) throw new UsageError(faults)
    return true
  }
  await once([{
    name: `has all settings of ${of}`,
    check: async () => faults.map(renderFault).join('\n'),
    look: `# ./${script}.mts --plan says what settings.yaml lacks`
  }])
  if (faults.length > 0) skipRest()
  return faults.length === 0
}
