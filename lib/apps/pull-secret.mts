import { Secret } from '../input/secrets.mts'
import type { ClusterStep } from '../run/step.mts'
import { ofPassword, secretByHand } from '../secrets/by-hand.mts'
import { type Means, secretStep } from '../secrets/cluster-secret.mts'
import { ofSecrets, type Secrets } from '../secrets/holder.mts'
import type { App } from './app.mts'
import { registryPassword } from './registry.mts'

/** The step that the namespace of an application with private images has the Secret `registry` to pull them with. */
export const hasPullSecret = ({ settings, kubectl }: Means, app: App, { known }: Secrets): ClusterStep => {
  const { server, user } = settings.apps.registry
  const place = { namespace: app.namespace, name: 'registry', type: 'kubernetes.io/dockerconfigjson' }
  return secretStep(kubectl, {
    ...place,
    step: `can pull the images of ${app.title}`,
    unknown: () => (known.has(registryPassword) ? [] : [registryPassword]),
    data: () => {
      // The kubelet needs nothing but `auth` (kubernetes: pkg/credentialprovider/config.go).
      const auth = new Secret(Buffer.from(`${user}:${ofSecrets(known)(registryPassword)}`).toString('base64'))
      return { '.dockerconfigjson': `{"auths":{"${server}":{"auth":"${auth.reveal()}"}}}` }
    },
    ...secretByHand(settings, place, { '.dockerconfigjson': ofPassword(server, user, registryPassword) })
  })
}
