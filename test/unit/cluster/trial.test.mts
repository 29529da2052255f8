import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { withObjects } from '../../../lib/cluster/trial.mts'

const manifest = 'kind: Namespace'
const { signal } = new AbortController()

test('a namespace of an earlier run that is still being removed is waited for', async () => {
  const asked: string[] = []
  const kubectl = async ([verb = '']: string[]): Promise<string> => {
    asked.push(verb)
    if (asked.length === 1) throw new Error('... forbidden: ... in namespace trial because it is being terminated')
    return ''
  }
  assert.is(await withObjects({ kubectl, manifest, signal }, async () => 'used'), 'used')
  assert.equal(asked, ['apply', 'apply', 'delete'])
})

test('whatever else is refused is told at once, and what was made until then is removed', async () => {
  const asked: string[] = []
  const kubectl = async ([verb = '']: string[]): Promise<string> => {
    asked.push(verb)
    if (verb === 'apply') throw new Error('exceeded quota')
    return ''
  }
  await withObjects({ kubectl, manifest, signal }, async () => assert.unreachable()).then(() => assert.unreachable(), (error: Error) => {
    assert.is(error.message, 'exceeded quota')
  })
  assert.equal(asked, ['apply', 'delete'])
})

test.run()
