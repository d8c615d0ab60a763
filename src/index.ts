import { configPresets as configurationPresets, configSchema } from './config/form.ts'
import { WebHooksPlugin } from './plugin.ts'
import type { PluginContext } from './xo.ts'

/** xo-server calls it without `new`, and reads the schemas off it: named exports it ignores (host: src/index.mjs). */
function webHooks(context: PluginContext): WebHooksPlugin {
  return new WebHooksPlugin(context)
}

function configurationSchema({ xo }: PluginContext): object {
  return configSchema(Object.keys(xo.apiMethods))
}

export default Object.assign(webHooks, { configurationPresets, configurationSchema })
