import KeelBridge
import KeelCore
import KeelModel
import KeelText

extension GenerateCommand {
    /// Refuses options that do not go together.
    ///
    /// - Throws: `KeelError` (usage).
    static func check(_ options: Options) throws {
        func refuse(_ what: String, _ fix: String) -> KeelError {
            KeelError("usage", what, fix: fix, code: .usage)
        }
        let sources = [options.prompt, options.promptsFile, options.promptIDs].compactMap { $0 }
            .count
        guard sources <= 1 else {
            throw refuse(
                "several kinds of prompts", "give one of --prompt, --prompts, --prompt-ids")
        }
        guard sources == 1 || options.isChat else {
            throw refuse("no prompt", "give one of --prompt, --prompts, --prompt-ids, --chat")
        }
        guard options.maxNewTokens >= 1, options.count >= 1 else {
            throw refuse(
                "--max-new-tokens \(options.maxNewTokens), --n \(options.count)",
                "both must be 1 or more")
        }
        guard options.minNewTokens <= options.maxNewTokens else {
            throw refuse(
                "--min-new-tokens \(options.minNewTokens) is above --max-new-tokens \(options.maxNewTokens)",
                "use \(options.maxNewTokens) or less")
        }
        if options.isChat, options.promptIDs != nil {
            throw refuse(
                "--chat with --prompt-ids",
                "ids are not put into a chat template: leave --chat away")
        }
        if options.system != nil, !options.isChat {
            throw refuse("--system without --chat", "add --chat")
        }
        if options.keep != nil, options.rewardsPath == nil {
            throw refuse("--keep without --rewards", "name a config with rewards: --rewards CONFIG")
        }
        if options.stop.contains("") {
            throw refuse("--stop with an empty text", "give the text that ends a completion")
        }
    }

    /// - Throws: `KeelError` (usage) for an end token that the tokenizer does not have.
    static func settings(
        _ options: Options, _ model: Model, _ tokenizer: Tokenizer?
    ) throws -> GenerationSettings {
        var ends = options.ignoreEOS ? [] : model.endIDs(tokenizer)
        for name in options.eos {
            guard let id = Int32(name) ?? tokenizer?.id(of: name), id >= 0,
                Int(id) < model.vocabularySize
            else {
                throw KeelError(
                    "usage", "--eos \(name) is no token of the model",
                    fix:
                        "give an id from 0 to \(model.vocabularySize - 1), or a token as tokenizer.json spells it",
                    code: .usage)
            }
            if !ends.contains(id) { ends.append(id) }
        }
        var settings = GenerationSettings(maxNewTokens: options.maxNewTokens, eosIDs: ends)
        settings.minNewTokens = options.minNewTokens
        settings.temperature = options.temperature
        settings.seed = options.seed
        settings.batchSize = options.batchSize
        settings.cacheTokens = options.cacheTokens
        return settings
    }

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
