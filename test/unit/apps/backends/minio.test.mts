import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { minioKeeps, minioTakes, refusalOf } from '../../../../lib/apps/backends/minio.mts'
import type { UseOf } from '../../../../lib/apps/backends/uses.mts'
import { closedPort, withServer } from '../../../support/servers.mts'
import { meansOf } from '../../../support/uses.mts'

const use = (more: Partial<UseOf<'minio'>> = {}): UseOf<'minio'> => ({ backend: 'minio', bucket: 'keybuzz', accessKey: 'access', secretKey: 'secret', ...more })

type Answer = (request: IncomingMessage, response: ServerResponse, body: string) => void

const serve = <Result,>(answer: Answer, work: (port: number) => Promise<Result>): Promise<Result> =>
  withServer(() => {}, work, () => createServer((request, response) => {
    let body = ''
    request.on('data', (data: Buffer) => (body += data.toString()))
    request.on('end', () => answer(request, response, body))
  }))

const refuse = (status: number, code: string): Answer => (_, response) =>
  void response.writeHead(status).end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`)

const list = '<?xml version="1.0"?><ListBucketResult><Name>keybuzz</Name><KeyCount>0</KeyCount><MaxKeys>1</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>'

test('a bucket that may be listed is taken, with the keys and the region of the settings, and through no proxy', async () => {
  const seen: string[] = []
  process.env['HTTP_PROXY'] = 'http://127.0.0.1:1'
  const words = await serve((request, response) => {
    seen.push(`${request.method} ${request.url?.split('?')[0]} ${/Credential=(\w+)\/\d+\/([\w-]+)/.exec(request.headers.authorization ?? '')?.slice(1).join(' ')}`)
    response.end(list)
  }, (port) => minioTakes(meansOf({ api: use(), chatwoot: use({ secretKey: 'unknown' }) }, 'minio', port)))
  delete process.env['HTTP_PROXY']
  assert.equal(words.split('\n'), ['= api: MinIO, bucket keybuzz', 'chatwoot: not known yet: unknown'])
  assert.equal(seen, ['GET /keybuzz access us-east-1'])
})

test("MinIO's refusals in words", async () => {
  const words = (status: number, code: string): Promise<string> => serve(refuse(status, code), (port) => minioTakes(meansOf({ api: use() }, 'minio', port)))
  assert.is(await words(403, 'InvalidAccessKeyId'), 'api: MinIO does not know the access key (access)')
  assert.is(await words(403, 'SignatureDoesNotMatch'), 'api: the secret key does not belong to the access key (secret)')
  assert.is(await words(404, 'NoSuchBucket'), 'api: bucket keybuzz is missing: mc mb MINIO/keybuzz')
  assert.is(await words(403, 'AccessDenied'), 'api: the access key (access) may not do all that is needed in bucket keybuzz: give its user a policy with s3:* there')
  assert.is(await words(403, 'RequestTimeTooSkewed'), 'api: the clocks of this bastion and of MinIO are more than 15 minutes apart: timedatectl on both')
  assert.is(await words(400, 'SomethingElse'), 'api: MinIO says: SomethingElse, no')
  assert.is(await words(503, 'SlowDown'), 'api: MinIO answers 503: are enough of its servers up, also behind its load balancer?')
  assert.is(refusalOf(use(), 'ECONNREFUSED', 'connect ECONNREFUSED'), undefined)
  const port = await closedPort()
  assert.is(await minioTakes(meansOf({ api: use() }, 'minio', port)), `api: MinIO 127.0.0.1:${port} refuses the connection: is it started, and is this its port?`)
})

test('an object of ours is written, read and deleted, with its version', async () => {
  const objects = new Map<string, string>()
  const seen: string[] = []
  const words = await serve(({ method, url = '' }, response, body) => {
    const [path = '', query = ''] = url.split('?')
    seen.push(`${method} ${query}`)
    if (method === 'PUT') {
      objects.set(path, body)
      response.writeHead(200, { etag: '"x"', 'x-amz-version-id': 'v7' }).end()
    } else if (method === 'GET') response.end(objects.get(path))
    else {
      objects.delete(path)
      response.writeHead(204).end()
    }
  }, (port) => minioKeeps(meansOf({ api: use() }, 'minio', port)))
  assert.is(words, '= api: bucket keybuzz')
  assert.equal(seen, ['PUT ', 'GET ', 'DELETE versionId=v7'])
  assert.is(objects.size, 0)
})

test('an object that cannot be read is deleted all the same', async () => {
  const seen: string[] = []
  const words = await serve((request, response, body) => {
    seen.push(request.method!)
    if (request.method === 'GET') return refuse(403, 'AccessDenied')(request, response, body)
    response.writeHead(request.method === 'PUT' ? 200 : 204, { etag: '"x"' }).end()
  }, (port) => minioKeeps(meansOf({ api: use() }, 'minio', port)))
  assert.match(words, /^api: the access key \(access\) may not/)
  assert.equal(seen, ['PUT', 'GET', 'DELETE'])
})

test.run()
