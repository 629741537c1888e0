import KeelCore
import KeelModel
import KeelTensor
import KeelText

/// A model as users name it.
///
/// A Hugging Face folder, one with a PEFT adapter on it, or an adapter's folder alone, whose own config names the
/// model below it.
package struct ModelSource: Sendable {
    /// What the user named, for people to recognise.
    package let name: String
    /// The folder of config and weights.
    package let folder: String
    /// A PEFT folder.
    package let adapter: String?

    /// Where the tokenizer and its chat template are: with the adapter, if it brings its own.
    package var textFolder: String {
        adapter.flatMap { Files.exists(Files.join($0, "tokenizer.json")) ? $0 : nil } ?? folder
    }

    /// - Parameters:
    ///   - path: a model's folder, or an adapter's.
    ///   - adapter: an adapter of that model.
    ///   - option: what was given, for errors.
    /// - Throws: `KeelError`: noInput for folders that are not there, usage for two adapters on each other.
    package init(_ path: String, adapter: String? = nil, option: String = "--model") throws {
        guard Files.isDirectory(path) else {
            throw KeelError(
                "model", Files.exists(path) ? "not a folder" : "no such folder", at: path,
                fix: "name a folder with config.json and model.safetensors, or an adapter's",
                code: .noInput)
        }
        name = adapter ?? path
        guard ModelSource.isAdapter(path) else {
            folder = path
            self.adapter = adapter
            return
        }
        guard adapter == nil else {
            throw KeelError(
                "model", "\(option) is an adapter itself, and another one is given", at: path,
                fix:
                    "name the model below: \(option) DIR, or merge the first adapter: keel model merge",
                code: .usage)
        }
        folder = try ModelSource.base(
            of: path, fix: "name it: \(option) DIR, and --adapter \(path)")
        self.adapter = path
    }

    /// Whether a folder holds an adapter and no model.
    private static func isAdapter(_ path: String) -> Bool {
        let has = { (name: String) in Files.exists(Files.join(path, name)) }
        return has("adapter_config.json") && !has("model.safetensors")
            && !has("model.safetensors.index.json")
    }

    /// The model that an adapter names, from its own folder or from here.
    ///
    /// - Throws: `KeelError` (noInput) where there is none.
    package static func base(of adapter: String, fix: String) throws -> String {
        let path = Files.join(adapter, "adapter_config.json")
        let json = try JSON.parse(try Files.read(path), name: path)
        let name = json["base_model_name_or_path"]?.string ?? ""
        let places = [Files.join(adapter, name), name]
        guard !name.isEmpty, let found = places.first(where: Files.isDirectory) else {
            throw KeelError(
                "model", "the adapter's model \"\(name)\" is no folder here",
                at: "\(path), key base_model_name_or_path", fix: fix, code: .noInput)
        }
        return found
    }

    /// The model, ready to be used and not to be trained.
    ///
    /// - Throws: `KeelError`, as `Model.load` and `adapted`.
    package func load(
        dtype: DType, device: Device, hasMaster: (Weight) -> Bool = { _ in false }
    ) throws -> Model {
        guard let adapter else {
            return try Model.load(
                directory: folder, dtype: dtype, device: device, hasMaster: hasMaster)
        }
        return try Model.load(
            directory: folder, adapter: adapter, dtype: dtype, device: device,
            hasMaster: hasMaster)
    }
}
