import type { Settings } from '../schema.mts'
import type { Path } from '../yaml.mts'
import type { Conflict } from './conflict.mts'

/** Messages by mail go through the mail server of the applications, and have its sender. */
const mailWithoutServer = ({ monitoring: { alerts }, backends: { smtp } }: Settings): Conflict[] => {
  const missing: Path[] = (['host', 'from'] as const).filter((key) => smtp[key] === '').map((key) => ['backends', 'smtp', key])
  return (['pages', 'tickets'] as const).filter((name) => alerts[name].email !== '' && missing.length > 0).map((name) => {
    const path: Path = ['monitoring', 'alerts', name, 'email']
    return {
      path, uses: [path, ...missing], expected: `'' as long as ${missing.map((one) => one.join('.')).join(' and ')} ${missing.length > 1 ? 'are' : 'is'} not set`,
      remedy: 'Set them, or leave this out.'
    }
  })
}

/** What does not fit together of the monitoring. */
export const monitoringConflicts = (settings: Settings): Conflict[] => mailWithoutServer(settings)
