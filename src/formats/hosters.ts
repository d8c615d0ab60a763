import { jsonPayload } from './format.ts'
import type { Format, Material } from './format.ts'
import { jsonOf } from './json.ts'
import { isRecord, textOf } from '../values.ts'

// The bodies of two control panels for virtual servers, for receivers that read one of them already.

/** The body of VirtFusion's web hooks; its headers are here under our own prefix. */
export const virtfusion: Format = {
  title: 'As VirtFusion',
  url: { example: 'https://billing.example.org/hooks' },
  tellsObject: true,
  isPerDelivery: true,
  build(material) {
    const { event, message, instance, delivery } = material
    const body = {
      event: event.method,
      created: new Date(message.at).toISOString(),
      hookId: delivery.hook.id,
      hookEventId: delivery.id,
      eventStatus: event.outcome === 'failure' ? 'fail' : event.outcome,
      controlDomain: instance.url === undefined ? '' : new URL(instance.url).hostname,
      controlName: message.instance,
      controlSupportLink: instance.url ?? '',
      data: {
        errors: message.error === undefined ? [] : [message.error],
        server: objectOf(material) ?? false,
        call: JSON.parse(jsonOf(event)) as unknown,
      },
    }
    return { ...jsonPayload(body), headers: ['X-XO-Hook-Event', delivery.id] }
  },
}

/** `{ id, type, created_at, data }`, as CD Hosting and many others have it. */
export const event: Format = {
  title: 'Event (id, type, created_at, data)',
  url: { example: 'https://app.example.org/webhooks/xo' },
  tellsObject: true,
  isPerDelivery: true,
  build(material) {
    const { message, delivery } = material
    const object = objectOf(material)
    return jsonPayload({
      id: `evt_${delivery.id}`,
      type: material.event.method,
      created_at: new Date(message.at).toISOString(),
      data: {
        server_id: message.object?.id,
        name: message.object?.name,
        status: textOf(object?.['power_state'])?.toLowerCase(),
        ip: object?.['mainIpAddress'] ?? object?.['address'],
        phase: material.event.phase,
        outcome: material.event.outcome,
        user: message.user,
        duration_ms: message.duration,
        error: message.error,
      },
    })
  },
}

function objectOf({ object }: Material): Readonly<Record<string, unknown>> | undefined {
  const value: unknown = object === undefined ? undefined : JSON.parse(object)
  return isRecord(value) ? value : undefined
}
