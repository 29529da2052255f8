#!/usr/bin/env node
// npm start: the lab, and the cluster in it. A second time it converges and changes nothing. `npm start -- --real-apps` has
// the real n8n and Superset in it.
import { messageOf } from '../../lib/base/errors.mts'
import { bastion } from './containers.mts'
import { attach } from './exec.mts'
import { createProgress } from './progress.mts'
import { realApps } from './real-apps.mts'
import { up } from './up.mts'

const lookAround = `Look around:
  npm run lab -- kubectl get nodes -o wide
  npm run lab -- run ./09_k3s_apply_all.mts --plan      any of the scripts, in the bastion
  npm run lab -- run ./09_k3s_09_final_validation.mts   is the cluster fit? Also with --drill
  npm run lab -- shell                                  the bastion; from there: ssh k3s-worker-01
                                                        and: curl -i http://10.0.0.5/ (a load balancer)
  npm run lab -- run curl -i http://n8n.keybuzz.io/healthz
                                                        an application; the others: support, platform, platform-api
                                                        and analytics.keybuzz.io
  npm run lab -- run curl -i http://grafana.keybuzz.io/api/health
                                                        Grafana. Its administrator is admin, with the password in
                                                        ~/.keybuzz/secrets/prod-grafana-admin-password of the bastion
  npm run lab -- run curl http://10.0.0.160:8080/messages
                                                        what the monitoring has told: alerts, and signs of life
  npm run lab -- run curl --cacert /etc/keybuzz-lab/vault-ca.pem https://10.0.0.150:8200/v1/sys/health
                                                        Vault
  npm run lab -- status
  npm run lab -- down
`

const progress = createProgress()
try {
  const real = realApps(process.argv.slice(2))
  const { engine, release, ingress } = await up(progress, { realApps: real })
  if (!release.official)
    progress.note(`K3s is ${release.version}, the lab's double of it: what it lacks is in test/lab/k3s/README.md`)
  if (!ingress.official)
    progress.note('The ingress controller is a stand-in, nginx under a small controller: test/lab/ingress/README.md')
  progress.note(real
    ? 'n8n and Superset are the real ones: test/lab/real-apps/README.md. KeyBuzz API and Front and Chatwoot are a stand-in'
    : 'KeyBuzz API and Front, Chatwoot, n8n and Superset are one stand-in under their names: test/lab/apps/README.md')
  progress.note('Grafana is a stand-in, which renders nothing: test/lab/monitoring/README.md')
  process.exitCode = await attach(engine.container.dockerode, bastion, ['./09_k3s_apply_all.mts', '--yes'])
  const took = progress.durations()
  if (took) process.stderr.write(`${took}\n`)
  process.stderr.write(lookAround)
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`)
  process.exitCode = 1
}
