import type { Means } from '../../lib/apps/backends/uses.mts'
import type { Use } from '../../lib/apps/app.mts'
import { defaultSettings, type Settings } from '../../lib/input/settings.mts'

/** What the checks of the backends work with: made-up applications, a backend at a port of 127.0.0.1, every secret is its name. */
export const meansOf = (uses: Record<string, Use>, backend: 'postgres' | 'redis' | 'rabbitmq' | 'minio', port: number, signal = new AbortController().signal): Means => {
  const settings: Settings = defaultSettings()
  Object.assign(settings.backends[backend], { address: '127.0.0.1', port })
  const apps = Object.entries(uses).map(([name, use]) => ({ name: name as Means['apps'][number]['name'], uses: [use] }))
  return { settings, apps, enabled: apps, of: (name) => {
    if (name === 'unknown') throw new Error('the secret unknown is not known')
    return name
  }, signal }
}
