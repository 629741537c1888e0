import KeelBridge
import KeelCore
import KeelModel

extension GenerateCommand {
    /// The sampler plugin of the options, or nil for the model's own distribution.
    ///
    /// - Throws: `KeelError` (unavailable) for a plugin that is not found, (config) for wrong parameters.
    static func sampler(_ options: Options) throws -> (any TokenSampling)? {
        guard let name = options.sampler else {
            guard options.samplerParams == nil else {
                throw KeelError("usage", "--sampler-params without --sampler", code: .usage)
            }
            return nil
        }
        let catalog = PluginCatalog(searchPaths: options.pluginPaths)
        let component = try catalog.find(name, kind: .tokenSampler)
        let params = try options.samplerParams.map {
            try JSON.parse($0, name: "--sampler-params", duplicates: .reject)
        }
        guard let object = (params ?? [:]).object else {
            throw KeelError("usage", "not a JSON object", at: "--sampler-params", code: .usage)
        }
        return PluginSampling(
            try TokenSamplerInstance(
                component, catalog: catalog,
                parameters: try component.validate(params: object, place: "--sampler-params"),
                seed: options.seed))
    }
}
