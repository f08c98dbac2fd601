//! `ModelService`: what owners say comes back, and bytes pass in their places.

use std::collections::HashMap;

use embermesh_crypto::Digest;
use embermesh_dialects::{Failure, Profile, port::registry::ModelFormat};
use embermesh_proto::cyxwiz::{protocol as documented, shipped};
use tonic::{Code, Request};

use crate::port::{by, serve};

macro_rules! models {
    ($name:ident, $wire:ident, $profile:expr, $pending:literal) => {
        mod $name {
            use super::*;
            use $wire::{
                DeleteModelRequest, DownloadModelMetadataRequest, HardwareRequirements,
                ListModelsRequest, ModelChunk, ModelInfo, UploadModelMetadataRequest,
                model_service_client::ModelServiceClient,
            };

            fn info() -> ModelInfo {
                ModelInfo {
                    name: "tiny".to_owned(),
                    description: "a small one".to_owned(),
                    format: 2,
                    source: 2,
                    source_url: "https://example.org/tiny".to_owned(),
                    size_bytes: 6,
                    requirements: Some(HardwareRequirements {
                        min_vram: 1 << 40,
                        min_ram: 2,
                        min_cpu_cores: 3,
                        required_device: 2,
                        gpu_name_preference: "A100".to_owned(),
                        supported_formats: vec!["gguf".to_owned(), "onnx".to_owned()],
                    }),
                    metadata: HashMap::from([
                        ("author".to_owned(), "ada".to_owned()),
                        ("sha256".to_owned(), "ab".repeat(32)),
                    ]),
                    ..Default::default()
                }
            }

            fn metadata(info: ModelInfo) -> UploadModelMetadataRequest {
                UploadModelMetadataRequest {
                    info: Some(info),
                    user_id: "ada".to_owned(),
                    is_public: true,
                    tags: vec!["small".to_owned()],
                }
            }

            fn chunk(offset: i64, data: &'static [u8]) -> ModelChunk {
                ModelChunk {
                    model_id: "model-0".to_owned(),
                    data: data.into(),
                    offset,
                    total_size: 6,
                    is_final: offset == 3,
                    checksum: "ef".repeat(32),
                }
            }

            fn asked() -> DownloadModelMetadataRequest {
                DownloadModelMetadataRequest {
                    model_id: "model-0".to_owned(),
                }
            }

            #[tokio::test]
            async fn what_an_owner_says_and_sends_comes_back() {
                let (memory, channel) = serve($profile).await;
                let mut client = ModelServiceClient::new(channel);
                let added = client.upload_metadata(by("ada", metadata(info()))).await;
                let added = added.unwrap().into_inner();
                assert_eq!((added.status, added.model_id.as_str()), (1, "model-0"));
                let said = memory.kept().rooms.models[0].0.said.clone();
                assert_eq!((said.format, said.size), (ModelFormat::Gguf, Some(6)));
                assert_eq!(said.checksum, Some("ab".repeat(32)));
                let begun = client.download_metadata(by("ada", asked())).await.unwrap();
                assert_eq!(begun.into_inner().status, $pending);

                let chunks = futures::stream::iter([chunk(0, b"abc"), chunk(3, b"def")]);
                let sent = client.upload_model(by("ada", chunks)).await.unwrap();
                assert_eq!(sent.into_inner().status, 1);
                let pieces = memory.kept().rooms.pieces.clone();
                let places: Vec<_> = pieces.iter().map(|one| (one.offset, one.total)).collect();
                assert_eq!(places, [(0, 6), (3, 6)]);
                assert!(!pieces[0].is_last && pieces[1].is_last);
                assert_eq!(pieces[0].checksum, Some("ef".repeat(32)));

                let whole = client.download_metadata(by("ada", asked())).await.unwrap();
                let whole = whole.into_inner();
                assert_eq!(whole.status, 1);
                let entry = whole.entry.unwrap();
                let mut expected = info();
                expected.model_id = "model-0".to_owned();
                let blake3 = Digest::of(b"abcdef").to_string();
                let more = [("blake3", blake3.as_str()), ("received_bytes", "6")];
                for (key, value) in more {
                    expected.metadata.insert(key.to_owned(), value.to_owned());
                }
                assert_eq!(entry.info, Some(expected));
                assert_eq!(entry.storage_path, format!("blake3:{blake3}?size=6"));
                assert_eq!((entry.owner_id.as_str(), entry.uploaded_at), ("ada", 5));
                assert_eq!((entry.is_public, entry.download_count), (true, 3));
                assert_eq!(entry.tags, ["small"]);

                let mut pieces = client.download_model(by("ada", asked())).await;
                let pieces = pieces.as_mut().unwrap().get_mut();
                let piece = pieces.message().await.unwrap().unwrap();
                assert_eq!((piece.offset, piece.total_size), (2, 6));
                assert_eq!((&piece.data[..], piece.is_final), (&b"abcdef"[..], true));
                assert_eq!(piece.checksum, "cd".repeat(32));
                // What fails on the way is told as such, not as an end.
                assert_eq!(pieces.message().await.unwrap_err().code(), Code::Internal);

                let delete = DeleteModelRequest {
                    model_id: "model-0".to_owned(),
                    user_id: String::new(),
                };
                let other = client.delete_model(by("bob", delete.clone())).await;
                assert_eq!(other.unwrap_err().code(), Code::NotFound);
                client
                    .delete_model(by("ada", delete.clone()))
                    .await
                    .unwrap();
                let again = client.delete_model(by("ada", delete)).await;
                assert_eq!(again.unwrap_err().code(), Code::NotFound);
            }

            #[tokio::test]
            async fn what_cannot_be_is_refused_by_its_name() {
                let (memory, channel) = serve($profile).await;
                let mut client = ModelServiceClient::new(channel);
                let nobody = client.upload_metadata(Request::new(metadata(info()))).await;
                assert_eq!(nobody.unwrap_err().code(), Code::Unauthenticated);
                let posed = client.upload_metadata(by("bob", metadata(info()))).await;
                assert_eq!(posed.unwrap_err().code(), Code::PermissionDenied);
                let none = UploadModelMetadataRequest::default();
                let format = ModelInfo {
                    format: 9,
                    ..info()
                };
                let size = ModelInfo {
                    size_bytes: -1,
                    ..info()
                };
                let key = ModelInfo {
                    metadata: HashMap::from([("cyxwiz.source".to_owned(), "1".to_owned())]),
                    ..info()
                };
                let all = [
                    (none, "info"),
                    (metadata(format), "format"),
                    (metadata(size), "size_bytes"),
                    (metadata(key), "metadata"),
                ];
                for (request, word) in all {
                    let refused = client
                        .upload_metadata(by("ada", request))
                        .await
                        .unwrap_err();
                    assert_eq!(refused.code(), Code::InvalidArgument, "{word}");
                    assert!(refused.message().contains(word), "{refused}");
                }
                memory.kept().rooms.refusal = Some(Failure::new(
                    embermesh_dialects::ErrorCode::Exhausted,
                    "there is no room",
                ));
                let full = client.upload_metadata(by("ada", metadata(info()))).await;
                assert_eq!(full.unwrap_err().code(), Code::ResourceExhausted);

                client
                    .upload_metadata(by("ada", metadata(info())))
                    .await
                    .unwrap();
                for wrong in [
                    ModelChunk {
                        offset: -1,
                        ..chunk(0, b"abc")
                    },
                    ModelChunk {
                        total_size: -1,
                        ..chunk(0, b"abc")
                    },
                ] {
                    let sent = futures::stream::iter([wrong]);
                    let refused = client.upload_model(by("ada", sent)).await.unwrap_err();
                    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
                }
                let sent = futures::stream::iter([chunk(0, b"abc")]);
                let other = client.upload_model(by("bob", sent)).await;
                assert_eq!(other.unwrap_err().code(), Code::NotFound);
            }

            #[tokio::test]
            async fn a_list_is_what_was_asked_for() {
                let (memory, channel) = serve($profile).await;
                let mut client = ModelServiceClient::new(channel);
                let request = ListModelsRequest {
                    search_query: "tiny".to_owned(),
                    tags: vec!["small".to_owned()],
                    format_filter: 1,
                    page_size: 5,
                    page_token: "3".to_owned(),
                    public_only: true,
                };
                let listed = client
                    .list_models(by("ada", request.clone()))
                    .await
                    .unwrap();
                let listed = listed.into_inner();
                assert_eq!(
                    (listed.total_count, listed.next_page_token.as_str()),
                    (9, "7")
                );
                let filter = memory.kept().rooms.filters.remove(0);
                assert_eq!((filter.text.as_str(), filter.most), ("tiny", 5));
                assert_eq!(filter.format, Some(ModelFormat::Onnx));
                assert_eq!(
                    (filter.after.as_deref(), filter.public_only),
                    (Some("3"), true)
                );
                for wrong in [
                    ListModelsRequest {
                        format_filter: 9,
                        ..request.clone()
                    },
                    ListModelsRequest {
                        page_size: -1,
                        ..request
                    },
                ] {
                    let refused = client.list_models(by("ada", wrong)).await.unwrap_err();
                    assert_eq!(refused.code(), Code::InvalidArgument);
                }
            }
        }
    };
}

models!(as_documented, documented, Profile::Documented, 2);
models!(as_shipped, shipped, Profile::Shipped, 3);
