import type { Settings } from '../input/settings.mts'
import type { NamedSecret } from '../secrets/holder.mts'
import type { App } from './app.mts'

/** The password of the private registry. It is in no Secret of an application, but in `registry` of its namespace. */
export const registryPassword = 'registry-password'

/** True where the images of an application need the password of the private registry. */
export const needsRegistry = ({ apps: { registry } }: Settings, { isPrivate }: App): boolean => isPrivate && registry.user !== ''

/** The password of the private registry, where one of the applications needs it. */
export const registrySecret = (settings: Settings, apps: App[]): NamedSecret[] => {
  const { user, server } = settings.apps.registry
  return apps.some((app) => needsRegistry(settings, app)) ? [{ name: registryPassword, what: `password of the registry ${user}@${server}` }] : []
}
