import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { adminSecret, adminSecrets } from '../../../../lib/apps/backends/admins.mts'
import type { Use } from '../../../../lib/apps/app.mts'
import { closedPort } from '../../../support/servers.mts'
import { meansOf } from '../../../support/uses.mts'

// Nobody is asked, also where the test is run at a terminal.
Object.defineProperty(process.stdin, 'isTTY', { value: false })

const postgres: Use = { backend: 'postgres', database: 'n8n', user: 'n8n', password: 'p', extensions: [], least: 13, supported: 13, connections: 1 }
const means = async (create: boolean) => {
  const some = meansOf({ n8n: postgres }, 'postgres', await closedPort())
  some.settings.backends.create = create
  return some
}
process.env['KEYBUZZ_POSTGRES_ADMIN_PASSWORD'] = 'sesame'
process.env['KEYBUZZ_RABBITMQ_ADMIN_PASSWORD'] = 'not-needed'

test('only an apply that is to make something knows an admin, and only of the backend that lacks something', async () => {
  assert.is((await adminSecrets({ mode: 'plan' }, await means(true))).size, 0)
  assert.is((await adminSecrets({ mode: 'apply' }, await means(false))).size, 0)
  const known = await adminSecrets({ mode: 'apply' }, await means(true))
  assert.equal([...known.keys()], ['postgres-admin-password'])
  assert.is(adminSecret(known, 'postgres-admin-password'), 'sesame')
})

test('one that is not known is told with its variable', () => {
  assert.throws(() => adminSecret(new Map(), 'minio-admin-secret-key'),
    (error: Error) => error.message === 'the secret key of an admin of MinIO is not known: set KEYBUZZ_MINIO_ADMIN_SECRET_KEY, or run it at a terminal')
})

test.run()
