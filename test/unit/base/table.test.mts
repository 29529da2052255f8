import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { renderColumns } from '../../../lib/base/table.mts'

const rows = [['HOST', 'OK', 'NOTE'], ['k3s-master-01', '12', ''], ['w', '7', 'is new']]

test('a column is as wide as its widest cell, and a line ends with its last word', () => {
  assert.equal(renderColumns(rows), [
    'HOST           OK  NOTE',
    'k3s-master-01  12',
    'w              7   is new'
  ])
})

test('columns are aligned as asked, with a least width and another gap', () => {
  assert.equal(renderColumns(rows, ['left', 'right'], { gap: 1, least: [0, 4] }), [
    'HOST            OK NOTE',
    'k3s-master-01   12',
    'w                7 is new'
  ])
})

test('a row may be shorter than the others, and there may be none', () => {
  assert.equal(renderColumns([['a'], ['bb', 'c']]), ['a', 'bb  c'])
  assert.equal(renderColumns([]), [])
})

test.run()
