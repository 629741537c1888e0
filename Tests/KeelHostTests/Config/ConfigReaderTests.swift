import KeelCore
import KeelTestSupport
import Testing

@testable import KeelHost

/// A config in a folder that has what it names.
struct ConfigFixture {
    let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        try Files.makeDirectory(folder.path("base"))
        try folder.write("train.jsonl", "")
        try folder.write("libmine.so", "")
    }

    static let sections = """
        "model": {"path": "base"}, "data": {"train": "train.jsonl"},
        "objective": {"plugin": "dpo"}, "output_dir": "run"
        """

    func load(_ text: String, _ overrides: [String] = []) throws -> RunConfig {
        try RunConfig.load(try folder.write("c.json", text), overrides: overrides)
    }

    /// The errors of a config, with the folder's path cut off.
    func errors(_ text: String, _ overrides: [String] = []) throws -> [KeelError] {
        do {
            _ = try load(text, overrides)
            return []
        } catch let error as KeelError {
            return [shortened(error)]
        } catch let errors as KeelErrors {
            return errors.errors.map(shortened)
        }
    }

    private func shortened(_ error: KeelError) -> KeelError {
        var error = error
        error.at = error.at.map { $0.replacingPrefix(folder.path + "/", "") }
        return error
    }
}

extension String {
    fileprivate func replacingPrefix(_ prefix: String, _ other: String) -> String {
        hasPrefix(prefix) ? other + dropFirst(prefix.count) : self
    }
}

@Suite struct ConfigReaderTests {
    let fixture: ConfigFixture

    init() throws { fixture = try ConfigFixture() }

    @Test func defaultsAndPathsAreFilledIn() throws {
        let config = try fixture.load("{ \(ConfigFixture.sections) }")
        #expect(config.model.path == fixture.folder.path("base"))
        #expect(config.data.train == fixture.folder.path("train.jsonl"))
        #expect(config.outputDir == fixture.folder.path("run"))
        #expect(config.model.dtype == .f32)
        #expect(config.reference == .initial)
        #expect(config.train.learningRate == 1e-6)
        #expect(config.train.perDeviceTrainBatchSize == 8)
        #expect(config.train.maxSteps == -1)
        #expect(config.train.evalSteps == nil)
        #expect(config.sampler.temperature == 1)
        #expect(config.rewards.isEmpty)
    }

    @Test func everyKindOfValueIsRead() throws {
        let config = try fixture.load(
            """
            {
              // Comments of both kinds /* */ are blanked, "//" in strings is not.
              "model": {"path": "./base/../base", "dtype": "bf16"},
              "reference": {"path": "base", "cache": "off"}, /* here
              too */
              "data": {"train": "train.jsonl", "columns": {"prompt": "question//x"}, "max_length": null},
              "objective": {"plugin": "dpo", "params": {"beta": 0.25}, "reduction": "token_mean"},
              "rewards": [{"plugin": "./libmine.so", "weight": -1, "clip": [-2, 2.5]},
                          {"plugin": "length", "name": "short", "run": {"on_error": "drop_row"}}],
              "train": {"learning_rate": 3e-4, "max_steps": 5.0, "lr_scheduler_type": "constant_with_warmup"},
              "output_dir": "/tmp/somewhere"
            }
            """)
        #expect(config.model.dtype == .bf16)
        #expect(config.reference == .path(fixture.folder.path("base"), cache: false))
        #expect(config.data.columns["prompt"] == "question//x")
        #expect(config.data.maxLength == nil)
        #expect(config.objective.params["beta"] == 0.25)
        #expect(config.objective.reduction == .tokenMean)
        #expect(config.rewards.map(\.shownName) == ["mine", "short"])
        #expect(config.rewards[0].plugin == fixture.folder.path("libmine.so"))
        #expect(config.rewards[0].clip == [-2, 2.5])
        #expect(config.rewards[1].run.onError == .dropRow)
        #expect(config.train.maxSteps == 5)
        #expect(config.train.lrSchedulerType == .constantWithWarmup)
        #expect(config.outputDir == "/tmp/somewhere")
    }

    /// The whole text: every mistake with its line, none hides another.
    @Test func allErrorsAreReportedTogether() throws {
        let text = """
            {
              "model": {"path": "bse", "dtype": "bf32"},
              "data": {"train": "trian.jsonl", "max_prompt_length": 0},
              "objective": {"plugin": "dpo", "params": []},
              "train": {"learnin_rate": 1, "seed": "x", "temperature": 2, "adam_beta1": 1.5}
            }
            """
        let found = try fixture.errors(text).map(\.description).joined(separator: "\n")
        #expect(
            found == """
                error[config]: model.path: no such folder: bse
                  at:  c.json:2:13, key model.path
                  fix: did you mean "base" beside it?
                error[config]: model.dtype is "bf32"; it takes "f32" or "bf16"
                  at:  c.json:2:28, key model.dtype
                  fix: did you mean "f32"?
                error[config]: data.train: no such file: trian.jsonl
                  at:  c.json:3:12, key data.train
                  fix: did you mean "train.jsonl" beside it?
                error[config]: data.max_prompt_length is 0; it must be from 1 to 1000000000
                  at:  c.json:3:36, key data.max_prompt_length
                  fix: use a value from 1 to 1000000000
                error[config]: objective.params is []; it takes an object
                  at:  c.json:4:34, key objective.params
                  fix: give it an object
                error[config]: unknown key "learnin_rate"
                  at:  c.json:5:13, key train.learnin_rate
                  fix: did you mean "learning_rate"?
                error[config]: train.seed is "x"; it takes an integer 0 or more
                  at:  c.json:5:32, key train.seed
                  fix: give it an integer 0 or more
                error[config]: unknown key "temperature"
                  at:  c.json:5:45, key train.temperature
                  fix: it belongs to "sampler": move it there
                error[config]: train.adam_beta1 is 1.5; it must be from 0 to 1
                  at:  c.json:5:63, key train.adam_beta1
                  fix: use a value from 0 to 1
                error[config]: output_dir is missing: the folder that the run writes
                  at:  c.json, key output_dir
                  fix: add "output_dir": "..." (a path)
                """)
    }

    @Test(arguments: [
        ("\"model\": {\"path\": \"base\", \"path\": \"base\"}", "is given twice"),
        ("\"reference\": \"none\", \"wibble\": 1", "unknown key \"wibble\""),
        ("\"critic\": {\"kind\": \"models\"}", "critic.kind is \"models\""),
        (
            "\"rewards\": [{\"plugin\": \"a\", \"normalize\": true}]",
            "rewards[0].normalize is true; it takes \"none\" or \"scale\" or \"normalize\""
        ),
        (
            "\"rewards\": [{\"plugin\": \"a\"}], \"combine\": {\"rule\": \"gated\"}",
            "combine.rule is \"gated\", but there is one reward"
        ),
        (
            "\"rewards\": [{\"plugin\": \"a\"}, {\"plugin\": \"bee\"}], "
                + "\"combine\": {\"rule\": \"gated\", \"gate\": \"be\"}",
            "combine.gate is \"be\", which is no reward of this config"
        ),
        (
            "\"combine\": {\"gate\": \"a\"}",
            "combine.gate is set, but combine.rule is not \"gated\""
        ),
        (
            "\"rewards\": [{\"plugin\": \"a\"}, {\"plugin\": \"b\"}], "
                + "\"combine\": {\"rule\": \"gated\", \"tag\": \"safe\"}",
            "combine.tag is \"safe\", which is no JSON pointer"
        ),
        (
            "\"rewards\": [{\"plugin\": \"a\"}, {\"plugin\": \"b\", \"normalize\": \"normalize\"}], "
                + "\"combine\": {\"rule\": \"gated\"}",
            "rewards[1] is normalised, but the logit of combine.transform takes probabilities"
        ),
        (
            "\"train\": {\"num_generations\": 1}, \"combine\": {\"rule\": \"normalize_then_sum\"}",
            "combine.rule is \"normalize_then_sum\", but train.num_generations is 1"
        ),
        (
            "\"combine\": {\"missing_eos_penalty\": 1, \"stop_properly\": -1}",
            "combine.missing_eos_penalty and a negative combine.stop_properly both say what a cut completion is worth"
        ),
        (
            "\"rewards\": [{\"plugin\": \"a\", \"model\": {}}]", "rewards[0].model.path is missing"
        ),
        ("\"reference\": \"base\"", "it takes \"initial\", \"none\""),
        ("\"reference\": {\"cache\": \"auto\"}", "reference.path is missing"),
        ("\"rewards\": [{\"weight\": 1}]", "rewards[0] names no reward"),
        ("\"rewards\": [{\"plugin\": \"a\"}, {\"plugin\": \"a\"}]", "two rewards are called \"a\""),
        ("\"rewards\": [{\"plugin\": \"a\", \"clip\": [2, 1]}]", "rewards[0].clip is [2.0, 1.0]"),
        ("\"rewards\": {}", "rewards is {}; it takes a list"),
        ("\"sampler\": {\"temperature\": 0}", "must be above 0"),
        ("\"train\": {\"max_steps\": 0}", "train.max_steps is 0"),
        ("\"train\": {\"max_steps\": 2.5}", "train.max_steps is 2.5; it takes an integer"),
        ("\"train\": {\"eval_steps\": 5}", "data.valid names no rows"),
        ("\"train\": {\"rollout_batch_size\": 12}", "no multiple of train.num_generations"),
        ("\"train\": {\"learning_rate\": true}", "it takes a number"),
        ("\"data\": {\"train\": \"base\"}", "no such file (it is a folder)"),
        ("\"model\": {\"path\": \"train.jsonl\"}", "no such folder (it is a file)"),
        ("\"objective\": {\"plugin\": \"./nope.so\"}", "no such plugin file: ./nope.so"),
        ("\"output_dir\": \"\"", "output_dir is empty"),
        (
            "\"data\": {\"train\": \"train.jsonl\", \"columns\": {\"prompt\": 3}}",
            "data.columns.prompt is 3"
        ),
    ])
    func oneMistake(section: String, message: String) throws {
        // The section replaces the one of the fixture, if that has it.
        let key = section.prefix { $0 != ":" }
        let others = [
            "\"model\": {\"path\": \"base\"}", "\"data\": {\"train\": \"train.jsonl\"}",
            "\"objective\": {\"plugin\": \"dpo\"}", "\"output_dir\": \"run\"",
        ].filter { !$0.hasPrefix(key) }
        let text = "{\n\(([section] + others).joined(separator: ",\n"))\n}"
        let errors = try fixture.errors(text)
        #expect(errors.count == 1, "\(errors)")
        #expect(errors.first?.what.contains(message) == true, "\(errors)")
        #expect(errors.first?.at?.hasPrefix("c.json:2:") == true, "\(errors)")
        #expect(errors.first?.fix != nil)
    }

    @Test(arguments: [
        ("", "c.json:1:1", "ends before"), ("[]", "c.json:1:1", "this file holds a list"),
        ("{\"a\": 1,}", "c.json:1:9", "not valid JSON"),
        ("{\n\"a\": 'b'}", "c.json:2:6", "single quotes"),
        ("{ /* x", "c.json:1:3", "never closed"), ("{\"a\": nan}", "c.json:1:8", "not valid JSON"),
    ])
    func brokenFiles(text: String, place: String, message: String) throws {
        let errors = try fixture.errors(text)
        #expect(errors.count == 1)
        #expect(errors.first?.at == place)
        #expect(errors.first?.what.contains(message) == true, "\(errors)")
        #expect(errors.first?.code == .config)
    }

    @Test func aMissingConfigFileIsNoInput() throws {
        let path = fixture.folder.path("none.json")
        #expect {
            try RunConfig.load(path)
        } throws: {
            ($0 as? KeelError)?.code == .noInput && ($0 as? KeelError)?.at == path
        }
    }

    @Test func missingFilesAloneAreNoInput() throws {
        let errors = try fixture.errors(
            "{\"model\": {\"path\": \"x\"}, \"data\": {\"train\": \"y\"}, "
                + "\"objective\": {\"plugin\": \"dpo\"}, \"output_dir\": \"run\"}")
        #expect(errors.map(\.code) == [.noInput, .noInput])
    }

    @Test func aliasesAreReadWithANote() throws {
        let reader = try ConfigReader(
            path: try fixture.folder.write(
                "a.json",
                "{\"train\": {\n\"batch_size\": 4, \"lr\": 2}, \"model\": {\"base_model\": \"base\"}}"
            ),
            overrides: ["train.iters=3"], wanted: ["model", "train"])
        let config = reader.read(RunConfig.self)
        try reader.throwErrors()
        #expect(config.train.perDeviceTrainBatchSize == 4)
        #expect(config.train.learningRate == 2)
        #expect(config.train.maxSteps == 3)
        #expect(config.model.path == fixture.folder.path("base"))
        #expect(reader.notes.count == 3)
        #expect(
            reader.notes.contains {
                $0.contains("\"batch_size\" is read as \"per_device_train_batch_size\"")
            })
        #expect(reader.places.place(of: "train.per_device_train_batch_size").contains("a.json:2:1"))
    }

    @Test func anAliasBesideItsKeyIsAnError() throws {
        let errors = try fixture.errors(
            "{ \(ConfigFixture.sections), \"train\": {\"lr\": 1, \"learning_rate\": 2} }")
        #expect(
            errors.map(\.what) == [
                "\"lr\" is another name of \"learning_rate\", and both are given"
            ])
    }

    @Test func overridesReachEveryDepth() throws {
        let text =
            "{ \(ConfigFixture.sections), \"rewards\": [{\"plugin\": \"a\"}, {\"plugin\": \"b\"}] }"
        let config = try fixture.load(
            text,
            [
                "train.learning_rate=2e-5", "rewards.1.weight=0.5", "objective.params.beta=0.3",
                "reference.path=base", "model.dtype=bf16", "rewards.0.name=first=one",
            ])
        #expect(config.train.learningRate == 2e-5)
        #expect(config.rewards.map(\.weight) == [1, 0.5])
        #expect(config.rewards[0].name == "first=one")
        #expect(config.objective.params["beta"] == 0.3)
        #expect(config.reference == .path(fixture.folder.path("base"), cache: true))
        #expect(config.model.dtype == .bf16)
    }

    @Test(arguments: [
        ("train.learning_rate", "an override without a value", "--set train.learning_rate"),
        ("=3", "an override without a value", "--set =3"),
        ("rewards.7.weight=1", "nothing to override", "--set rewards.7.weight=1"),
        ("train.sed=1", "unknown key \"sed\"", "--set train.sed=1, key train.sed"),
        ("train.seed=-1", "must be 0 or more", "--set train.seed=-1, key train.seed"),
    ])
    func badOverridesNameTheArgument(argument: String, message: String, place: String) throws {
        let errors = try fixture.errors(
            "{ \(ConfigFixture.sections), \"rewards\": [] }", [argument])
        #expect(errors.count == 1)
        #expect(errors.first?.what.contains(message) == true, "\(errors)")
        #expect(errors.first?.at == place)
    }

    @Test func outputDirOfTheCommandLineIsRelativeToTheCurrentFolder() throws {
        let path = try fixture.folder.write("c.json", "{ \(ConfigFixture.sections) }")
        #expect(try RunConfig.load(path, outputDir: "x/y").outputDir == Files.absolute("x/y"))
    }

    @Test func errorsOfOtherPartsJoinTheList() throws {
        let path = try fixture.folder.write(
            "c.json", "{ \(ConfigFixture.sections), \"train\": {\"seed\": -1} }")
        #expect {
            try RunConfig.load(path) { _, reader in
                reader.collect {
                    throw KeelErrors([KeelError("plugin", "one"), KeelError("plugin", "two")])
                }
                reader.report("three", at: "objective.plugin")
            }
        } throws: {
            ($0 as? KeelErrors)?.errors.map(\.what) == [
                "train.seed is -1; it must be 0 or more", "one", "two", "three",
            ]
        }
    }

    @Test func rewardsAloneAreEnoughForAnEvaluation() throws {
        let path = try fixture.folder.write("r.json", "{\"rewards\": [{\"plugin\": \"length\"}]}")
        #expect(try RunConfig.loadRewards(path).rewards.count == 1)
        let none = try fixture.folder.write("n.json", "{}")
        #expect(throws: KeelError.self) { try RunConfig.loadRewards(none) }
    }

    @Test func theResolvedConfigLoadsToTheSame() throws {
        let config = try fixture.load(
            "{ \(ConfigFixture.sections), \"train\": {\"max_steps\": 7}, \"rewards\": [{\"plugin\": \"a\"}] }"
        )
        let again = try fixture.load(config.json.text(pretty: true))
        #expect(again.json == config.json)
    }

    @Test func copiesOfASectionAreTheirOwn() {
        let first = TrainConfig()
        var second = first
        second.seed = 9
        #expect(first.seed == 42)
        #expect(second.seed == 9)
    }

    @Test(
        arguments: [
            "{\"train\": \(String(repeating: "[", count: 100_000))", "{\"\\u0000\": 1}",
            "{\"a\": \"\u{1}\"}",
            "\u{FEFF}{}", "{\"train\": {\"seed\": 99999999999999999999}}",
            "{\"train\": {\"seed\": 1e400}}",
        ])
    func hostileFilesEndInOneError(text: String) throws {
        #expect(try fixture.errors(text).count >= 1)
    }
}
