import { Cron } from 'croner'

/** The form of K3s's etcd-snapshot-schedule-cron: five fields, or a descriptor. */

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']
const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']

type Field = { least: number; most: number; names: string[]; namesFrom: number }

/** Day of the week ends at 6: K3s's parser (robfig/cron v3) does not take 7 for Sunday. */
const FIELDS: Field[] = [
  { least: 0, most: 59, names: [], namesFrom: 0 },
  { least: 0, most: 23, names: [], namesFrom: 0 },
  { least: 1, most: 31, names: [], namesFrom: 0 },
  { least: 1, most: 12, names: MONTHS, namesFrom: 1 },
  { least: 0, most: 6, names: DAYS, namesFrom: 0 }
]

const DESCRIPTOR = /^@(yearly|annually|monthly|weekly|daily|midnight|hourly)$/

const toNumber = (text: string, { names, namesFrom }: Field): number => {
  const index = names.indexOf(text.toLowerCase())
  if (index >= 0) return index + namesFrom
  return /^\d{1,2}$/.test(text) ? Number(text) : NaN
}

const isRange = (text: string, field: Field): boolean => {
  if (text === '*') return true
  const ends = text.split('-').map((end) => toNumber(end, field))
  const [first = NaN, last = first] = ends
  return ends.length <= 2 && first >= field.least && first <= last && last <= field.most
}

const isPart = (text: string, field: Field): boolean => {
  const [range = '', step, ...rest] = text.split('/')
  return rest.length === 0 && isRange(range, field) && (step === undefined || /^[1-9]\d?$/.test(step))
}

/** True where K3s accepts the text as a schedule. */
export const isSchedule = (text: string): boolean => {
  if (DESCRIPTOR.test(text)) return true
  const fields = text.split(' ')
  return fields.length === FIELDS.length
    && FIELDS.every((field, index) => (fields[index] ?? '').split(',').every((part) => isPart(part, field)))
}

/** The longest time between two runs of a schedule that K3s accepts, in seconds. */
export const intervalOf = (schedule: string): number => {
  const runs = new Cron(schedule).nextRuns(50).map((run) => run.getTime() / 1000)
  return Math.max(...runs.slice(1).map((run, index) => run - runs[index]!))
}
