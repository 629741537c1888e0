import KeelCore
import KeelTensor

/// The weights of a Hugging Face directory: every tensor under its name, whichever file holds it.
package struct WeightFiles: Sendable {
    /// Where a tensor lies.
    package struct Location: Sendable {
        package let file: SafetensorsFile
        package let entry: SafetensorsFile.Entry

        /// The cells as `dtype`.
        ///
        /// - Throws: `KeelError` (badData) when the file holds no floating point numbers.
        package func tensor(dtype: DType, device: Device) throws -> Tensor {
            try file.tensor(entry, dtype: dtype, device: device)
        }
    }

    /// Opened and checked.
    package let files: [SafetensorsFile]
    /// Names in the order of the files.
    package let names: [String]
    private let locations: [String: Location]

    /// - Parameter directory: a folder with `model.safetensors`, or with shards and their index.
    /// - Throws: `KeelError`: `noInput` when there are no weights, `badData` for a damaged file.
    package init(directory: String) throws {
        let single = Files.join(directory, "model.safetensors")
        let index = Files.join(directory, "model.safetensors.index.json")
        if Files.exists(single) {
            try self.init(files: [try SafetensorsFile(single)])
        } else if Files.exists(index) {
            try self.init(index: index, directory: directory)
        } else {
            throw KeelError(
                "model", "no model.safetensors in the model's folder", at: single,
                fix: Files.exists(Files.join(directory, "pytorch_model.bin"))
                    ? "convert pytorch_model.bin to safetensors; pickle files are not read"
                    : "give the folder that holds config.json and model.safetensors",
                code: .noInput)
        }
    }

    /// The shards that an index lists; each tensor lies where the index says.
    private init(index: String, directory: String) throws {
        let json = try JSON.parse(try Files.read(index), name: index, duplicates: .reject)
        guard let map = json["weight_map"]?.object, !map.isEmpty else {
            throw KeelError(
                "model", "no \"weight_map\" with the tensors' files", at: index,
                fix: "get the index of the shards again", code: .badData)
        }
        var shards: [String] = []
        var seen: Set<String> = []
        for (tensor, value) in map {
            guard let shard = value.string, !shard.isEmpty, !shard.contains("/"), shard != ".."
            else {
                throw KeelError(
                    "model",
                    "tensor \(tensor) lies in \(value.text()), which is no file beside the index",
                    at: index, fix: "get the index of the shards again", code: .badData)
            }
            if seen.insert(shard).inserted { shards.append(shard) }
        }
        let missing = shards.filter { !Files.exists(Files.join(directory, $0)) }
        guard missing.isEmpty else {
            throw KeelError(
                "model",
                "\(missing.count) of \(shards.count) shards are not there: "
                    + missing.prefix(3).joined(separator: ", "),
                at: index, fix: "get the missing files", code: .noInput)
        }
        try self.init(
            files: try shards.sorted().map { try SafetensorsFile(Files.join(directory, $0)) })
        for (tensor, value) in map {
            let place = self[tensor].map { Files.name($0.file.path) }
            guard place == value.string else {
                throw KeelError(
                    "model",
                    "tensor \(tensor) should lie in \(value.string ?? ""), but "
                        + (place.map { "lies in \($0)" } ?? "no shard has it"),
                    at: index, fix: "get the index and the shards again", code: .badData)
            }
        }
    }

    /// - Throws: `KeelError` (badData) when two files hold the same name.
    init(files: [SafetensorsFile]) throws {
        var names: [String] = []
        var locations: [String: Location] = [:]
        for file in files {
            for entry in file.entries {
                if let other = locations.updateValue(
                    Location(file: file, entry: entry), forKey: entry.name)
                {
                    throw KeelError(
                        "model", "tensor \(entry.name) stands in two files",
                        at: "\(other.file.path), \(file.path)",
                        code: .badData)
                }
                names.append(entry.name)
            }
        }
        self.files = files
        self.names = names
        self.locations = locations
    }

    /// Where the tensor of a name lies, or nil.
    package subscript(name: String) -> Location? { locations[name] }

    /// The type most cells are stored as.
    package var commonType: StoredType {
        var cells: [StoredType: Int] = [:]
        for location in locations.values {
            cells[location.entry.type, default: 0] += location.entry.count
        }
        return cells.max { ($0.value, $1.key.rawValue) < ($1.value, $0.key.rawValue) }?.key ?? .f32
    }

    /// Bytes of all files.
    package var bytes: Int { files.reduce(0) { $0 + (Files.size($1.path) ?? 0) } }
}
