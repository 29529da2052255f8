import { ingressSources, notOutside } from '../cluster/network.mts'
import { inYaml, resourceValues } from '../cluster/values.mts'
import type { Settings } from '../input/settings.mts'
import { namespaceOf, type App } from './app.mts'
import { pullSecrets } from './values.mts'

/**
 * KeyBuzz Front. It uses no backend and has no secret: all that it shows comes from the API, at API_URL. Its image must run
 * as any user, with a read-only root.
 */
export const front = (settings: Settings): App => {
  const { apps: { api, front: own, rollout_timeout: timeout } } = settings
  const { host, port, resources, replicas } = own
  const image = own.image || '<FRONT_IMAGE>' // only a runbook goes on without one
  return {
    name: 'front',
    namespace: namespaceOf('front'),
    title: 'KeyBuzz Front',
    host,
    isPrivate: true,
    given: [],
    made: [],
    secret: () => ({}),
    uses: [],
    base: [{
      file: 'front/base.yaml',
      values: {
        HOST: host, PORT: port, API_HOST: api.host, ENVIRONMENT: inYaml(own.environment),
        INGRESS_SOURCES: ingressSources(settings), NOT_OUTSIDE: notOutside
      }
    }],
    turnedOff: [],
    migrations: [],
    workloads: [{
      name: 'front',
      part: {
        file: 'front/deployment.yaml',
        values: {
          IMAGE: image, PULL_SECRETS: pullSecrets(settings), ...resourceValues(resources),
          PORT: port, ALIVE: own.alive, READY: own.ready, TIMEOUT: timeout
        }
      }
    }],
    edge: [{
      file: 'front/edge.yaml',
      values: { HOST: host, LEAST: replicas.least, MOST: replicas.most, CPU_TARGET: replicas.cpu, MEMORY_TARGET: replicas.memory }
    }],
    answer: { path: own.alive, body: '' }
  }
}
