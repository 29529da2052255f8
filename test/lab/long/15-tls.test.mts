// TLS that ends at the public load balancers, the default of settings.yaml: the lab's pass it through otherwise.
import * as assert from 'uvu/assert'
import { bastion, labUp } from '../nodes.mts'
import { changed, hosts } from '../tests/apps.mts'
import { converge, on, script } from '../tests/cluster.mts'
import { query } from '../tests/monitoring.mts'
import { test } from '../tests/timed.mts'

await labUp()
await converge()

const balancers = { 'lb-keybuzz-1': '10.0.0.5', 'lb-keybuzz-2': '10.0.0.6' }
const everyBalancer = (command: string): Promise<unknown> => Promise.all(Object.keys(balancers).map((name) => on(name, `cd /etc/haproxy; ${command}`)))
const reload = 'haproxy -c -q -f lb-keybuzz.cfg && kill -USR2 $(pgrep -o haproxy)'

/** As Hetzner's do with services of the kind http and https: both to port 80, and the headers say who came and how. */
const endTls = `cp lb-keybuzz.cfg before.cfg
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=*.keybuzz.io' -keyout key.pem -out cert.pem 2>/dev/null; cat cert.pem key.pem > both.pem
sed -i 's/^  mode tcp/  mode http\\n  option forwardfor/; s/ send-proxy check-send-proxy//; s/default_backend nodes-https/default_backend nodes-http/
s|^  bind :443|& ssl crt /etc/haproxy/both.pem\\n  http-request set-header X-Forwarded-Proto https|
s|^  bind :80$|&\\n  http-request set-header X-Forwarded-Proto http|' lb-keybuzz.cfg
${reload}`

const ask = async (scheme: string, address: string, host: string, path: string): Promise<string> =>
  (await bastion(['curl', '-sk', '-m', '10', '-o', '/dev/null', '-w', '%{http_code} %{redirect_url}', '--connect-to', `::${address}`, `${scheme}://${host}${path}`]))
    .stdout.trim()

test('every script takes it, the applications answer by TLS, and plain HTTP is sent there', async () => {
  const settings = await changed('tls', "settings.ingress.client_address = 'x-forwarded-for'")
  await everyBalancer(endTls)
  try {
    for (const name of ['09_k3s_05_ingress_daemonset', '09_k3s_06_deploy_core_apps', '09_k3s_07_install_monitoring']) {
      const run = await script(name, '--yes', '--settings', settings)
      assert.is(run.exitCode, 0, run.text)
    }
    for (const [host, path] of Object.values(hosts)) {
      for (const [name, address] of Object.entries(balancers)) {
        assert.is(await ask('https', address, host, path), '200', `${host} through ${name}`)
        assert.is(await ask('http', address, host, path), `301 https://${host}${path}`, `${host} through ${name}`)
      }
    }
    for (const name of ['09_k3s_test_healthcheck', '09_k3s_09_final_validation']) {
      const { exitCode, text } = await script(name, '--settings', settings)
      assert.is(exitCode, 0, text)
    }
    const probes = await query('probe_success{job="apps", instance=~"https://.*"}')
    assert.equal([...new Set(probes.map(({ value: [, up] }) => up))], ['1'])
  } finally {
    await everyBalancer(`mv before.cfg lb-keybuzz.cfg; rm -f *.pem; ${reload}`)
  }
})

test('the way back', async () => {
  await converge()
  assert.is(await ask('http', '10.0.0.5', ...hosts.n8n), '200')
})

test.run()
