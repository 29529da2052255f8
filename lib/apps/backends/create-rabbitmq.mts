import { Agent, request } from 'node:http'
import { isAbort } from '../../base/errors.mts'
import type { Settings } from '../../input/settings.mts'
import { inTime, usesOf, wordsOf, type Means } from './uses.mts'

type Asked = { method: 'GET' | 'PUT'; path: string[]; body?: object }

/** One request to RabbitMQ's management API. Returns the status. Its own agent uses no proxy. */
const asker = (
  { address: host, management_port: port, admin }: Settings['backends']['rabbitmq'],
  password: string,
  closing: (close: () => void) => void
) => {
  const agent = new Agent({ proxyEnv: {} })
  closing(() => agent.destroy())
  return ({ method, path, body = {} }: Asked): Promise<number> => new Promise((resolve, reject) => {
    const text = method === 'PUT' ? JSON.stringify(body) : ''
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
    const url = `/api/${path.map(encodeURIComponent).join('/')}`
    const sent = request({ host, port, agent, method, headers, auth: `${admin}:${password}`, path: url })
    sent.on('error', reject)
    sent.on('response', (response) => {
      response.resume()
      response.on('end', () => resolve(response.statusCode ?? 0))
      response.on('error', reject)
    })
    sent.end(text)
  })
}

/**
 * Makes the vhost, the user and its permissions of each application that are missing, as the admin of the settings, through
 * the management API. What is there stays as it is: no password is set anew. Throws in words where it refuses.
 */
export const createInRabbitmq = async (means: Means, adminPassword: string): Promise<void> => {
  const { settings: { backends: { rabbitmq } }, signal, of } = means
  const who = `RabbitMQ's management ${rabbitmq.address}:${rabbitmq.management_port}`
  try {
    await inTime(signal, async (closing) => {
      const ask = asker(rabbitmq, adminPassword, closing)
      const has = async (path: string[], body: object): Promise<void> => {
        const there = await ask({ method: 'GET', path })
        const status = there === 404 ? await ask({ method: 'PUT', path, body }) : there
        if (status === 401) {
          throw new Error(`does not let ${rabbitmq.admin} in: its password is another one, or it has not the tag administrator`)
        }
        if (status >= 300) throw new Error(`answers ${status} to ${path.join('/')}`)
      }
      for (const { use: { user, vhost, password } } of usesOf(means.apps, 'rabbitmq')) {
        await has(['vhosts', vhost], {})
        await has(['users', user], { password: of(password), tags: '' })
        await has(['permissions', vhost, user], { configure: '.*', write: '.*', read: '.*' })
      }
    })
  } catch (error) {
    if (isAbort(error)) throw error
    throw new Error(wordsOf(who, error, (message) => (/^(does not let|answers) /.test(message) ? `${who} ${message}` : undefined)))
  }
}

/** The same by hand. */
export const createInRabbitmqByHand = ({ apps }: Means): string =>
  ['# On a server of RabbitMQ. add_user asks for the password.', ...usesOf(apps, 'rabbitmq').flatMap(({ use: { user, vhost } }) => [
    `rabbitmqctl add_vhost ${vhost}`,
    `rabbitmqctl add_user ${user}`,
    `rabbitmqctl set_permissions -p ${vhost} ${user} '.*' '.*' '.*'`
  ])].join('\n')
