import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { local } from '../base/environment.mts'
import { UsageError } from '../base/errors.mts'
import { Secret } from '../input/secrets.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import type { ClusterStep } from '../run/step.mts'
import { applyObjects } from './objects.mts'

type Pair = { certificate: string; key: Secret }

/** Days until a PEM certificate expires. In a chain the first one counts. */
export const daysLeft = (pem: string): number => (new X509Certificate(pem).validToDate.getTime() - Date.now()) / 86_400_000

// A certificate that expires sooner is refused: perhaps nobody looks here for weeks.
const leastDays = 14

/** Reads a PEM file of a certificate chain and its key. Throws a UsageError that says what is wrong with it. */
export const readPair = async (file: string): Promise<Pair> => {
  const fault = (expected: string, remedy: string, value?: string): UsageError =>
    new UsageError([{ file, what: 'ingress.certificate', ...(value === undefined ? {} : { value }), expected, remedy }])
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw fault('a file that can be read', 'Correct the path in the settings, or the mode of the file.', error.code)
  })
  const certificate = (text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).join('\n')
  const key = /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----[^-]+-----END (?:[A-Z]+ )?PRIVATE KEY-----/.exec(text)?.[0]
  if (certificate === '' || key === undefined) {
    throw fault('a certificate chain and its private key in PEM form', 'Put both into this one file: cat fullchain.pem privkey.pem')
  }
  const first = new X509Certificate(certificate)
  if (!first.checkPrivateKey(createPrivateKey(key))) throw fault("the first certificate's own key", 'Take the two from one issue.')
  const days = daysLeft(certificate)
  if (days < leastDays) throw fault(`a certificate that lasts ${leastDays} days at least`, 'Renew it.', first.validTo)
  return { certificate: `${certificate}\n`, key: new Secret(`${key}\n`) }
}

const selfSigning = 'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=keybuzz-default'

const selfSigned = async (): Promise<Pair> => {
  const { stdout } = await local()`${selfSigning.split(' ')} -keyout -`
  const [key = '', certificate = ''] = stdout.split(/(?=-----BEGIN CERTIFICATE-----)/)
  return { certificate, key: new Secret(key) }
}

type Place = {
  namespace: string
  secret: string
  /** The PEM file that the pair was read from, or '' where none is given. */
  file: string
}

/** The step that a Secret holds the given certificate. Without one it is self-signed. */
export const certificateStep = (kubectl: Kubectl, { namespace, secret, file }: Place, given: Pair | undefined): ClusterStep => {
  const path = 'jsonpath={.data.tls\\.crt}'
  return {
    name: file === '' ? 'has a default certificate' : 'has the default certificate',
    check: async () => {
      const found = await kubectl`-n ${namespace} get secret ${secret} --ignore-not-found -o ${path}`
      if (found === '') return 'is missing'
      const pem = Buffer.from(found, 'base64').toString()
      const { subject } = new X509Certificate(pem)
      const evidence = `= ${subject.replaceAll('\n', ', ')}, ${Math.floor(daysLeft(pem))} days left`
      if (given && pem !== given.certificate) return `${evidence}\nis another one`
      return daysLeft(pem) < leastDays ? `${evidence}\nends soon` : evidence
    },
    look: `kubectl -n ${namespace} get secret ${secret} -o '${path}' | base64 -d > found.crt
openssl x509 -in found.crt -noout -subject -enddate -checkend ${leastDays * 86_400}${file === '' ? '' : `
${certificateIn(file)} | diff found.crt -`}`,
    change: async () => {
      const { certificate, key } = given ?? (await selfSigned())
      await applyObjects(kubectl, JSON.stringify({
        apiVersion: 'v1', kind: 'Secret', type: 'kubernetes.io/tls', metadata: { namespace, name: secret },
        stringData: { 'tls.crt': certificate, 'tls.key': key.reveal() }
      }))
    },
    byHand: `(umask 077; ${makePair(file)})
kubectl -n ${namespace} create secret tls ${secret} --cert tls.crt --key tls.key --dry-run=client -o yaml |
  kubectl apply --server-side --force-conflicts -f -
rm tls.key`
  }
}

const makePair = (file: string): string => {
  if (file === '') return `${selfSigning} -keyout tls.key -out tls.crt`
  return `${certificateIn(file)} > tls.crt; sed -n '/BEGIN .*PRIVATE KEY/,/END .*PRIVATE KEY/p' ${file} > tls.key`
}

const certificateIn = (file: string): string => `sed -n '/BEGIN CERTIFICATE/,/END CERTIFICATE/p' ${file}`
