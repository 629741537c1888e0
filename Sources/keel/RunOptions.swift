import ArgumentParser
import KeelHost

/// A config file and what the command line changes in it.
struct RunOptions: ParsableArguments {
    @Argument(
        help: ArgumentHelp("The run's config, JSON with comments.", valueName: "CONFIG"),
        completion: .file(extensions: ["json"]))
    var config: String

    @Option(
        name: .customLong("set"),
        help: ArgumentHelp("Replaces a key of the config; may be repeated.", valueName: "KEY=VALUE")
    )
    var overrides: [String] = []

    @Option(
        help: ArgumentHelp("The folder to write, instead of the config's.", valueName: "DIR"),
        completion: .directory)
    var outputDir: String?

    @OptionGroup var plugins: PluginOptions

    /// What `train` and `check` need to know.
    var options: TrainCommand.Options {
        var options = TrainCommand.Options(configPath: config)
        options.overrides = overrides
        options.outputDir = outputDir
        options.pluginPaths = plugins.paths
        return options
    }

    /// The config and the plugins it names.
    ///
    /// - Throws: everything that is wrong with them, at once.
    func load() throws -> (config: RunConfig, plugins: RunPlugins) {
        try RunConfig.load(
            config, overrides: overrides, outputDir: outputDir, catalog: plugins.catalog)
    }
}
