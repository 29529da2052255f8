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

import { answersAtItsHost } from './lib/apps/answers.mts'
import { type App, appNames, namespaceOf } from './lib/apps/app.mts'
import { chosenApps, enabledApps, givenNames, hasSettings, refuseIncomplete } from './lib/apps/apps.mts'
import { adminSecrets } from './lib/apps/backends/admins.mts'
import { acceptsApps, isUsed, refusalOf } from './lib/apps/backends/steps.mts'
import { checksum, hasPullSecret, hasSecret } from './lib/apps/cluster-secret.mts'
import { deploys } from './lib/apps/deploy.mts'
import { appSecrets, knowsGiven, needsRegistry } from './lib/apps/given.mts'
import { hasMade } from './lib/apps/made.mts'
import { hasMigrated } from './lib/apps/migrate.mts'
import { nodesOfApps, reachesBackends } from './lib/apps/reachable.mts'
import { type Rendered, renderApp, writeRendered } from './lib/apps/render.mts'
import { type AppSecrets, ofSecrets } from './lib/apps/secrets.mts'
import { hasTenant, noTenantLeft } from './lib/apps/tenant.mts'
import { manifestStep } from './lib/cluster/objects.mts'
import { value } from './lib/run/flags.mts'
import type { Run } from './lib/run/run.mts'
import { operate, script } from './lib/run/script.mts'
import type { ClusterStep } from './lib/run/step.mts'

export const deployCoreApps = script({
  id: '09_k3s_06',
  title: 'Deploy the applications',
  file: import.meta.filename,
  flags: {
    app: value('NAME', `only this application: ${appNames.join(', ')}`),
    secrets: value('FILE', 'passwords, as lines NAME=value; its mode is 0600'),
    render: value('DIR', 'write what would be applied, without secrets, and do nothing else')
  },
  story: async (run, flags) => {
    const { settings, kubectl, signal } = run
    const isRunbook = run.mode === 'runbook'
    const enabled = enabledApps(settings)
    if (isRunbook) run.note('`<API_IMAGE>` and `<FRONT_IMAGE>` stand for images that the settings do not name.')
    else if (run.mode === 'validate') {
      const complete = hasSettings(settings, enabled)
      await run.once([complete])
      if (await complete.check() !== '') return run.skipRest()
    } else refuseIncomplete(settings, enabled)
    const apps = chosenApps(enabled, flags.app)
    const secrets = await appSecrets(run, apps, flags.secrets, givenNames(settings))
    const render = (app: App): Promise<Rendered> => renderApp(app, settings, (texts) => (isRunbook ? 'by-hand' : checksum(app, secrets, texts)))
    if (flags.render !== undefined) {
      for (const app of apps) await writeRendered(flags.render, app, await render(app))
      return run.note(`Written to ${flags.render}: ${apps.map(({ name }) => name).join(', ')}. Their Secrets are not among it.`)
    }

    const places = nodesOfApps(run)
    const reaches = reachesBackends(run)
    await run.on(places, (host) => [reaches(host)])
    const mayGoOn = run.mode === 'validate' || places.filter((host) => run.chosen.includes(host)).every(run.stands)
    if (!mayGoOn) return run.skipRest()
    const login = { settings, enabled, apps, of: ofSecrets(secrets.known), signal }
    const accepts = acceptsApps(login, await adminSecrets(run, login))
    await run.once([knowsGiven(run, secrets, () => refusalOf(accepts)), ...accepts])
    for (const app of apps) {
      // Its keys come first: the checksum in its pods follows from them.
      if (app.made.length > 0) await run.once([hasMade(run, app, secrets, () => isUsed(login, app))], app.name)
      await run.once(deployment(run, app, await render(app), secrets), app.name)
    }
    if (flags.app !== undefined) return
    const tenants = await Promise.all(settings.tenants.map((tenant) => hasTenant(kubectl, settings, tenant)))
    await run.once([...tenants, noTenantLeft(kubectl, settings)], 'tenants')
  }
})

/** One application, from its namespace to its answer. Its keys are there. */
const deployment = (run: Run, app: App, { namespace, base, migrations, workloads, edge }: Rendered, secrets: AppSecrets): ClusterStep[] => {
  const { kubectl, settings } = run
  const own = { namespace: namespaceOf(app.name), within: settings.apps.rollout_timeout }
  return [
    manifestStep(kubectl, 'has its namespace', namespace),
    ...(app.given.length + app.made.length > 0 ? [hasSecret(run, app, secrets)] : []),
    ...(needsRegistry(settings, app) ? [hasPullSecret(run, app, secrets)] : []),
    manifestStep(kubectl, 'has its configuration, services and policies', base),
    ...migrations.map((migration) => hasMigrated(run, own.namespace, migration, workloads)),
    ...workloads.map((workload) => deploys(run, { ...own, ...workload })),
    manifestStep(kubectl, 'has its host, and its number of pods', edge),
    answersAtItsHost(app, settings)
  ]
}

if (import.meta.main) await operate([deployCoreApps], import.meta.filename)
