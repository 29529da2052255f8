#!/usr/bin/env -S sh -c 'exec "$(dirname "$(readlink -f "$0")")/lib/run/start.sh" "$0" "$@"'
// 09_k3s_06  Deploy the applications
//
// KeyBuzz API and Front, Chatwoot, n8n, and Superset where the settings enable it, each in a namespace of its own and behind
// its own host. First every node's pods must reach the backends, and each backend must take the applications with their real
// passwords. Then an application's migrations run, its pods are replaced one by one, and it must answer through both load
// balancers. A version that is not ready in time is taken back.
//
// Needs:   09_k3s_05. The backends, with databases, roles and buckets (docs/backends.md). Passwords: from --secrets, from
//          variables such as KEYBUZZ_REDIS_PASSWORD, or typed when it asks (docs/app-secrets.md).
// Changes: the namespaces keybuzz-api, -front, -chatwoot, -n8n, -superset, and tenant-* of the settings' tenants; in the
//          databases what the applications' own migrations do; secrets in ~/.keybuzz/secrets of the bastion.
// Undo:    `kubectl delete namespace keybuzz-n8n` removes an application. Its data is in the backends, and stays there.
// Example: ./09_k3s_06_deploy_core_apps.mts --app n8n --plan

import { type App, appNames } from './lib/apps/app.mts'
import { chosenApps, enabledApps, givenNames, incomplete } from './lib/apps/apps.mts'
import { adminSecrets } from './lib/apps/backends/admins.mts'
import { acceptsApps, hasNoTables, refusalOf, usedDatabase } from './lib/apps/backends/steps.mts'
import { deploys } from './lib/apps/deploy.mts'
import { leavesDisabled } from './lib/apps/disabled.mts'
import { isFromVault } from './lib/apps/from-vault.mts'
import { hasMigrated, leavesNoneStopped } from './lib/apps/migrate.mts'
import { hasPullSecret } from './lib/apps/pull-secret.mts'
import { nodesOfApps, reachesBackends } from './lib/apps/reachable.mts'
import { needsRegistry, registrySecret } from './lib/apps/registry.mts'
import { filesOf, type Rendered, renderApp, writeFolder } from './lib/apps/render.mts'
import { secretSource, type Source, vaultSource } from './lib/apps/source.mts'
import { hasTenant, noTenantLeft, tenantManifest } from './lib/apps/tenant.mts'
import { answersAtItsHost } from './lib/cluster/answers.mts'
import { manifestStep } from './lib/cluster/objects.mts'
import { hasNoneOf } from './lib/cluster/turned-off.mts'
import { monitoringSecrets } from './lib/monitoring/holders.mts'
import { isComplete } from './lib/run/complete.mts'
import { instead, value } from './lib/run/flags.mts'
import type { Run } from './lib/run/run.mts'
import { operate, script } from './lib/run/script.mts'
import type { ClusterStep } from './lib/run/step.mts'
import { checksum, checksumByHand, noteOfChecksum } from './lib/secrets/cluster-secret.mts'
import { knownSecrets, knowsGiven } from './lib/secrets/given.mts'
import { ofSecrets, type Secrets, unknownOf } from './lib/secrets/holder.mts'
import { hasMade } from './lib/secrets/made.mts'
import { databasePassword, givenOf } from './lib/vault/database.mts'
import { openVault } from './lib/vault/open.mts'
import { rightsFor } from './lib/vault/rights.mts'
import { inCluster, inVault } from './lib/vault/setup.mts'

export const deployCoreApps = script({
  id: '09_k3s_06',
  title: 'Deploy the applications',
  file: import.meta.filename,
  flags: {
    app: value('NAME', `only this application: ${appNames.join(', ')}`),
    secrets: value('FILE', 'passwords, as lines NAME=value; its mode is 0600'),
    'vault-token-file': value('FILE', 'a file that holds a token of Vault, for applications that get their secrets from there'),
    render: instead(value('DIR', 'write what would be applied, without secrets, and do nothing else'))
  },
  story: async (run, flags) => {
    const { settings, kubectl, signal } = run
    const isRunbook = run.mode === 'runbook'
    const enabled = enabledApps(settings)
    if (isRunbook) {
      run.note('`<API_IMAGE>` and `<FRONT_IMAGE>` stand for images that the settings do not name.')
      run.note(noteOfChecksum)
    }
    if (!(await isComplete(run, { of: 'the applications', script: '09_k3s_06_deploy_core_apps', faults: incomplete(settings, enabled) }))) return
    const apps = chosenApps(enabled, flags.app)
    const ofVault = apps.filter((app) => isFromVault(settings, app))
    const also = [...givenNames(settings), ...monitoringSecrets, databasePassword]
    const more = [...registrySecret(settings, apps), ...(ofVault.length > 0 ? givenOf(settings) : [])]
    const secrets = await knownSecrets(run, { holders: apps, more, file: flags.secrets, also })
    const render = (app: App): Promise<Rendered> => renderApp(app, settings, (texts) => (isRunbook ? checksumByHand : checksum(app, secrets, texts)))
    if (flags.render !== undefined) {
      for (const app of apps) await writeFolder(flags.render, app.name, filesOf(await render(app)))
      if (flags.app === undefined) {
        const others = appNames.filter((name) => !settings.apps[name].enabled)
        for (const name of others) await writeFolder(flags.render, name, [])
        await writeFolder(flags.render, 'tenants', await Promise.all(settings.tenants.map(async (tenant): Promise<[string, string]> =>
          [`1-${tenant.name}`, await tenantManifest(settings, tenant)])))
      }
      return run.note(`Written to ${flags.render}: ${apps.map(({ name }) => name).join(', ')}. Their Secrets are not among it.`)
    }

    const opened = ofVault.length > 0 ? await openVault(run, flags['vault-token-file'], rightsFor(settings, ofVault.map(({ name }) => name))) : undefined
    const places = nodesOfApps(run)
    // Who deploys one application in haste is not held up by a backend of another.
    const reaches = reachesBackends(run, (key) => flags.app === undefined || apps.some(({ uses }) => uses.some(({ backend }) => backend === key)))
    await run.on(places, (host) => [reaches(host)])
    const mayGoOn = run.mode === 'validate' || places.filter((host) => run.chosen.includes(host)).every(run.stands)
    if (!mayGoOn) return run.skipRest()
    const login = { settings, enabled, apps, of: ofSecrets(secrets.known), signal }
    const accepts = acceptsApps(login, await adminSecrets(run, login))
    await run.once([...(opened?.opens ?? []), knowsGiven(run, secrets, { whose: 'the applications', refusal: () => refusalOf(accepts) }), ...accepts])
    if (opened) await run.once([...(await inCluster(run)), ...(opened.vault ? inVault(opened.vault, run, secrets) : [])])
    for (const app of apps) {
      const source = isFromVault(settings, app) ? vaultSource(run, app, secrets, opened?.vault) : secretSource(run, app, secrets)
      // Its keys come first: the checksum in its pods follows from them.
      if (app.made.length > 0) await run.once([hasMade(run, app, secrets, () => usedDatabase(login, app, secrets), source.copy)], app.name)
      await run.once(deployment(run, app, await render(app), secrets, source, () => hasNoTables(login, app, secrets)), app.name)
    }
    if (run.mode === 'apply') for (const app of apps.filter(({ name }) => run.stands(name))) run.note(`${app.title} answers at https://${app.host}`)
    if (flags.app !== undefined) return
    const tenants = await Promise.all(settings.tenants.map((tenant) => hasTenant(kubectl, settings, tenant)))
    await run.once([...tenants, noTenantLeft(kubectl, settings)], 'tenants')
    await run.once([leavesDisabled(run)])
  }
})

/** One application, from its namespace to its answer. Its keys are there. */
const deployment = (
  run: Run,
  app: App,
  { namespace, base, migrations, workloads, edge }: Rendered,
  secrets: Secrets,
  { isLeft, before, after }: Source,
  isEmpty: () => Promise<boolean>
): ClusterStep[] => {
  const { kubectl, settings } = run
  const own = { namespace: app.namespace, within: settings.apps.rollout_timeout, isWaiting: unknownOf(app, secrets).length > 0 }
  const space = manifestStep(kubectl, 'has its namespace', namespace)
  return [
    { ...space, check: async () => ((await isLeft()) ? '' : space.check()) },
    ...before,
    ...(needsRegistry(settings, app) ? [hasPullSecret(run, app, secrets)] : []),
    manifestStep(kubectl, 'has its configuration, services and policies', base),
    ...(app.turnedOff.length > 0 ? [hasNoneOf(kubectl, own.namespace, app.turnedOff)] : []),
    ...migrations.map((migration) => hasMigrated(run, own.namespace, migration, workloads, isEmpty)),
    ...workloads.map((workload) => leavesNoneStopped(run, own.namespace, { migrations, workloads }, workload.name, deploys(run, { ...own, ...workload }))),
    manifestStep(kubectl, 'has its host, and its number of pods', edge),
    answersAtItsHost(app, settings),
    ...after,
    ...(app.login ? [{ ...space, name: 'has its namespace closed to what it has left' }] : [])
  ]
}

if (import.meta.main) await operate([deployCoreApps], import.meta.filename)
