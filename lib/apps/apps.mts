import { type Fault, UsageError } from '../base/errors.mts'
import { closest } from '../base/words.mts'
import type { Settings } from '../input/settings.mts'
import { misuse } from '../run/flags.mts'
import { templateOf } from '../secrets/holder.mts'
import { api } from './api.mts'
import { type App, type AppName, appNames, type MakeApp } from './app.mts'
import { chatwoot } from './chatwoot.mts'
import { isFromVault } from './from-vault.mts'
import { front } from './front.mts'
import { imagesMissing } from './images-set.mts'
import { n8n } from './n8n.mts'
import { registryPassword } from './registry.mts'
import { superset } from './superset.mts'

const makers: Record<AppName, MakeApp> = { api, front, chatwoot, n8n, superset }

/** The applications that the settings enable. */
export const enabledApps = (settings: Settings): App[] =>
  appNames.filter((name) => settings.apps[name].enabled).map((name) => {
    const app = makers[name](settings)
    return isFromVault(settings, app) ? { ...app, uses: [...app.uses, { backend: 'vault' }] } : app
  })

/**
 * All that enabled applications lack in the settings: an image, the address of a backend. Also where a secret stands among the
 * variables of settings.yaml.
 */
export const incomplete = (settings: Settings, apps: App[]): Fault[] =>
  [...imagesMissing(settings), ...commandMissing(settings), ...apps.flatMap((app) => [...backendsMissing(settings, app), ...secretsInTheOpen(settings, app)])]

/** The names of all secrets that applications may be given, also those that are not enabled: a file may hold them too. */
export const givenNames = (settings: Settings): string[] =>
  [...appNames.flatMap((name) => makers[name](settings).given.map((one) => one.name)), registryPassword]

const file = 'settings.yaml'

const backendsMissing = ({ backends }: Settings, { name, title, uses }: App): Fault[] =>
  uses.filter(({ backend }) => backend !== 'smtp' && backends[backend].address === '').map(({ backend }) => ({
    file, what: `backends.${backend}.address`, value: '', expected: `an IPv4 address: ${title} uses it`,
    remedy: `Set it, or set apps.${name}.enabled to false.`
  }))

const commandMissing = ({ apps: { api: own }, vault: { apps } }: Settings): Fault[] =>
  own.enabled && apps.includes('api') && own.command.length === 0
    ? [{ file, what: 'apps.api.command', value: '[]', expected: 'the command of its image: api gets its secrets from Vault, and is started with them', remedy: 'Set it to what the image runs, such as [node, server.js], or take api out of vault.apps.' }]
    : []

const secretsInTheOpen = ({ apps }: Settings, app: App): Fault[] =>
  Object.keys(templateOf(app)).filter((key) => key in apps[app.name].environment).map((key) => ({
    file, what: `apps.${app.name}.environment.${key}`, expected: 'no secret: these variables can be read by everybody',
    remedy: `Delete it: it comes from the Secret of ${app.title} (docs/app-secrets.md).`
  }))

/** The one of the enabled applications that --app names, or all of them. Throws a UsageError for any other name. */
export const chosenApps = (enabled: App[], name: string | undefined): App[] => {
  const chosen = enabled.filter((app) => name === undefined || app.name === name)
  if (name === undefined || chosen.length > 0) return chosen
  const names = enabled.map((app) => app.name)
  const near = closest(name, names)
  const remedy = near ? `Did you mean ${near}?` : 'Correct it, or enable it in settings.yaml.'
  throw new UsageError([misuse('--app', `one of ${names.join(', ')}`, remedy, name)])
}
