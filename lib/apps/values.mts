import type { Settings } from '../input/settings.mts'

/** Whether an image is in the private registry of the settings: only then it is pulled with a password. */
export const isInRegistry = ({ apps: { registry } }: Settings, image: string): boolean =>
  registry.server !== '' && image.startsWith(`${registry.server}/`)

/** Where the images of a private registry get their password: the Secret `registry` of the namespace. */
export const pullSecrets = ({ apps }: Settings): string => (apps.registry.user === '' ? '[]' : '[{name: registry}]')

/** The same for an application whose images need not be there: an empty list where none of them is in that registry. */
export const pullSecretsFor = (settings: Settings, ...images: string[]): string =>
  (images.some((image) => isInRegistry(settings, image)) ? pullSecrets(settings) : '[]')
